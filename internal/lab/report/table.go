package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// grid is a table: what stands in its rows and columns, in order.
type grid struct {
	Title, About string
	Rows, Cols   []string
	cells        map[[2]string]*Cell
}

func (g *grid) at(row, col string) *Cell { return g.cells[[2]string{row, col}] }

// tabulate arranges the cells of one set; the columns are tools, in the order
// of the campaign.
func (b *Bench) tabulate(set Set, title, about string, row func(*Cell) string) *grid {
	g := &grid{Title: title, About: about, cells: map[[2]string]*Cell{}}
	used := map[string]bool{}
	for i := range b.Cells {
		c := &b.Cells[i]
		if c.Set != set || len(c.Runs) == 0 && c.Why == "" {
			continue
		}
		name := row(c)
		if !slices.Contains(g.Rows, name) {
			g.Rows = append(g.Rows, name)
		}
		used[c.Tool] = true
		g.cells[[2]string{name, c.Tool}] = c
	}
	for _, t := range b.Tools {
		if used[t.Name] {
			g.Cols = append(g.Cols, t.Name)
			delete(used, t.Name)
		}
	}
	for _, c := range b.Cells { // those that the list of tools lacks
		if used[c.Tool] {
			g.Cols = append(g.Cols, c.Tool)
			delete(used, c.Tool)
		}
	}
	return g
}

// grids returns the tables of a campaign that have rows.
func (b *Bench) grids() []*grid {
	var list []*grid
	for _, g := range []*grid{
		b.tabulate(Sweep, "Goodput against loss", "share of what the link can carry; congestion control of the hosts, loss in each direction",
			func(c *Cell) string { return fmt.Sprintf("%s, %s", c.CC, percent(c.Loss)) }),
		b.tabulate(Profile, "The file over the profiles", "share of what the link can carry",
			func(c *Cell) string { return c.Link + ", " + c.CC }),
		b.tabulate(Files, "Small files and an upgrade", "seconds",
			func(c *Cell) string { return c.Payload + ", " + c.Link + ", " + c.CC }),
		b.tabulate(Events, "What an event does", "how it ended, and when",
			func(c *Cell) string { return c.Event }),
		b.tabulate(Timeline, "Through an event", "how it ended, and when",
			func(c *Cell) string { return c.Event }),
	} {
		if len(g.Rows) > 0 {
			list = append(list, g)
		}
	}
	return list
}

// Table writes the campaign as text tables.
func (b *Bench) Table(w io.Writer) error {
	var s strings.Builder
	for _, g := range b.grids() {
		fmt.Fprintf(&s, "%s (%s)\n", g.Title, g.About)
		rows := [][]string{append([]string{""}, g.Cols...)}
		for _, row := range g.Rows {
			line := []string{row}
			for _, col := range g.Cols {
				line = append(line, cellText(g.at(row, col)))
			}
			rows = append(rows, line)
		}
		align(&s, rows)
		s.WriteByte('\n')
	}
	for _, t := range b.Tools {
		if t.Missing != "" {
			fmt.Fprintf(&s, "not measured: %s\n", t.Missing)
		}
	}
	s.WriteString(b.NoiseText() + "\n")
	_, err := io.WriteString(w, s.String())
	return err
}

// NoiseText says whether the machine kept up with the links.
func (b *Bench) NoiseText() string {
	all, worst := b.Noise(false)
	text := fmt.Sprintf("%.2f %% of all packets were forwarded more than 5 ms late, at most %.2f %% in one cell", 100*all, 100*worst)
	if worst > .01 {
		text += ": the machine was too busy there, take those figures as lower bounds"
	} else {
		text += ": the machine kept up"
	}
	if all, worst := b.Noise(true); worst > 0 {
		text += fmt.Sprintf("; in the runs with an event, which share the machine, %.2f %% and %.2f %%", 100*all, 100*worst)
	}
	return text
}

// cellText is a cell in a few characters.
func cellText(c *Cell) string {
	switch {
	case c == nil:
		return ""
	case len(c.Runs) == 0:
		return "-"
	}
	sec := c.Seconds()
	switch o := c.Outcome(); {
	case c.Set == Events || c.Set == Timeline:
		return outcomeText(c)
	case o == OK && c.Set == Files:
		return fmt.Sprintf("%s s", seconds(sec.Median))
	case o == OK:
		return fmt.Sprintf("%s, %s s", share(c.Fraction().Median), seconds(sec.Median))
	case o == Slow && c.Set == Files:
		return fmt.Sprintf("> %s s", seconds(sec.Median))
	case o == Slow:
		return fmt.Sprintf("%s, > %s s", share(c.Fraction().Median), seconds(sec.Median))
	default:
		return outcomeText(c)
	}
}

// outcomeText is a word and a time.
func outcomeText(c *Cell) string {
	r := c.middle()
	if r == nil {
		return ""
	}
	at := seconds(r.Seconds) + " s"
	switch o := c.Outcome(); o {
	case OK:
		return "ok " + at
	case Failed:
		return fmt.Sprintf("exit %d, %s", r.Exit, at)
	case Hang:
		return "hangs, > " + at
	case Slow:
		return "moves, > " + at
	case Damaged:
		return "DAMAGED " + at
	default:
		words := []string{}
		for _, r := range c.Runs {
			if w := string(r.Outcome); !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
		slices.Sort(words)
		return strings.Join(words, " or ")
	}
}

// align writes rows in columns: the first to the left, the rest to the right.
func align(s *strings.Builder, rows [][]string) {
	width := map[int]int{}
	for _, row := range rows {
		for i, text := range row {
			width[i] = max(width[i], utf8.RuneCountInString(text))
		}
	}
	for _, row := range rows {
		line := "  "
		for i, text := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(text))
			if i == 0 {
				line += text + pad
			} else {
				line += "  " + pad + text
			}
		}
		s.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// share is a fraction in percent, with one decimal below ten.
func share(f float64) string {
	if f < .0995 {
		return fmt.Sprintf("%.1f %%", 100*f)
	}
	return fmt.Sprintf("%.0f %%", 100*f)
}

// percent is a loss.
func percent(f float64) string { return fmt.Sprintf("%.3g %%", 100*f) }

// seconds has three significant figures or none behind the point.
func seconds(v float64) string {
	switch {
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// rate is bits per second for people.
func rate(v int64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.3g Gbit/s", float64(v)/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.3g Mbit/s", float64(v)/1e6)
	case v > 0:
		return fmt.Sprintf("%.3g kbit/s", float64(v)/1e3)
	}
	return "no limit"
}

// duration is whole minutes and seconds.
func duration(sec float64) string {
	return (time.Duration(sec) * time.Second).String()
}
