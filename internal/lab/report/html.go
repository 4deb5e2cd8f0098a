package report

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var pageText string

// HTML writes the campaign as one page that needs nothing else: no script, no
// font, no picture from anywhere.
func (b *Bench) HTML(w io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"percent": percent, "seconds": seconds, "duration": duration, "colour": b.colour,
		"class": cellClass, "text": cellText, "tip": cellTip, "bar": barWidth,
		"ours": func(tool string) bool { return tool == Ropeway },
		"add":  func(a, b int) int { return a + b }, "sub": func(a, b int) int { return a - b },
		"gib": func(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) },
	}).Parse(pageText)
	if err != nil {
		return err
	}
	return page.Execute(w, b.view())
}

// view is what the page shows.
type view struct {
	*Bench
	Sweeps    []chart
	Timelines []strips
	Goodput   []*htmlGrid // the tables of shares
	Other     []*htmlGrid
	Events    []*htmlGrid
	Noise     string
	Noisy     bool
	Headline  []string
}

// htmlGrid is a table whose cells the template can walk through.
type htmlGrid struct {
	Title, About string
	Cols         []string
	Rows         []htmlRow
}

type htmlRow struct {
	Name  string
	About string
	Cells []*Cell
}

func (b *Bench) view() view {
	v := view{Bench: b, Sweeps: b.sweeps(), Timelines: b.timelines(), Noise: b.NoiseText(), Headline: b.headline()}
	_, worst := b.Noise(false)
	v.Noisy = worst > .01
	for _, g := range b.grids() {
		h := &htmlGrid{Title: g.Title, About: g.About, Cols: g.Cols}
		var set Set
		for _, row := range g.Rows {
			r := htmlRow{Name: row}
			for _, col := range g.Cols {
				c := g.at(row, col)
				if c != nil {
					set, r.About = c.Set, c.About
				}
				r.Cells = append(r.Cells, c)
			}
			h.Rows = append(h.Rows, r)
		}
		switch set {
		case Sweep, Profile:
			v.Goodput = append(v.Goodput, h)
		case Events:
			v.Events = append(v.Events, h)
		case Files:
			v.Other = append(v.Other, h)
		}
	}
	return v
}

// headline is what the campaign says in a few sentences, with its own numbers.
func (b *Bench) headline() (list []string) {
	var best, worst *Cell // the pair of cells where we differ most from rsync
	for i := range b.Cells {
		c := &b.Cells[i]
		if c.Set != Sweep && c.Set != Profile || c.Tool != Ropeway || len(c.Runs) == 0 {
			continue
		}
		peer := *c
		peer.Tool = "rsync"
		r := b.Find(peer.Key())
		if r == nil || len(r.Runs) == 0 || r.Fraction().Median <= 0 {
			continue
		}
		if best == nil || c.Fraction().Median/r.Fraction().Median > best.Fraction().Median/worst.Fraction().Median {
			best, worst = c, r
		}
	}
	if best != nil {
		list = append(list, fmt.Sprintf("At %s loss, %s and %.0f ms, with %s on the hosts, rsync gets %s of what the link can carry, ropeway %s.",
			percent(best.Loss), rate(best.Rate), 1000*best.RTT, best.CC, share(worst.Fraction().Median), share(best.Fraction().Median)))
	}
	survived, all := 0, 0
	others := map[string][2]int{}
	for i := range b.Cells {
		c := &b.Cells[i]
		if c.Set != Events || len(c.Runs) == 0 {
			continue
		}
		good := c.Outcome() == OK
		if c.Tool == Ropeway {
			all++
			if good {
				survived++
			}
			continue
		}
		n := others[c.Tool]
		n[1]++
		if good {
			n[0]++
		}
		others[c.Tool] = n
	}
	if all > 0 {
		text := []string{}
		for _, t := range b.Tools {
			if n := others[t.Name]; n[1] > 0 {
				text = append(text, fmt.Sprintf("%s %d of %d", t.Name, n[0], n[1]))
			}
		}
		list = append(list, fmt.Sprintf("Of %d events in the middle of a transfer, ropeway came through %d by itself, with an identical file, within the time that a run was given; %s.",
			all, survived, strings.Join(text, ", ")))
	}
	return list
}

// cellClass colours a cell by how it ended.
func cellClass(c *Cell) string {
	switch {
	case c == nil:
		return "none"
	case len(c.Runs) == 0:
		return "none"
	}
	return string(c.Outcome())
}

// barWidth is the share of the link in percent, for a bar.
func barWidth(c *Cell) int {
	if c == nil || len(c.Runs) == 0 {
		return 0
	}
	return int(100*min(1, max(0, c.Fraction().Median)) + .5)
}

// cellTip is what the pointer reads over a cell.
func cellTip(c *Cell) string {
	switch {
	case c == nil:
		return "not measured"
	case len(c.Runs) == 0:
		return c.Why
	}
	s, f, w := c.Seconds(), c.Fraction(), c.Wire()
	tip := []string{fmt.Sprintf("%s, %d runs: %s s (%s to %s), %s of the link (%s to %s), %.2f bytes on the wire for each byte of payload",
		c.Tool, len(c.Runs), seconds(s.Median), seconds(s.Least), seconds(s.Most), share(f.Median), share(f.Least), share(f.Most), w.Median)}
	if r := c.middle(); r != nil {
		if r.Line != "" {
			tip = append(tip, r.Line)
		}
		if r.First > 0 {
			tip = append(tip, fmt.Sprintf("payload again %s s after the link was back", seconds(r.First)))
		}
		if r.Outcome == Hang {
			tip = append(tip, fmt.Sprintf("no byte for the last %s s", seconds(r.Idle)))
		}
	}
	return strings.Join(tip, "\n")
}
