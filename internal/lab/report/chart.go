package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// colours of the tools: those of Okabe and Ito, which most people with a colour
// vision deficiency can tell apart, for the tools that stand for themselves;
// ways of using one tool are shades of its colour.
var colours = map[string]string{
	Ropeway: "#0059b3", "ropeway-push": "#6a9bd8",
	"rsync": "#d55e00", "rsync-T60": "#e69f00", "rsync-push": "#a84a00", "rsync-push-T60": "#b8860b",
	"rsync-loop": "#e58a5c", "rsync-push-loop": "#c98f6b",
	"wget": "#009e73", "curl": "#56b4e9", "aria2c": "#cc79a7", "rclone": "#7b68ae",
}

// colour is that of a tool.
func (b *Bench) colour(tool string) string {
	if c, ok := colours[tool]; ok {
		return c
	}
	return "#777777"
}

// Ropeway is the name of the tool that is ours.
const Ropeway = "ropeway"

// chart is goodput against loss: one panel for one congestion control.
type chart struct {
	Title         string
	W, H          int
	Left, Top     int
	Right, Bottom int // coordinates of the plot's corners
	XTicks        []tick
	YTicks        []tick
	Lines         []line
}

type tick struct {
	At   int
	Text string
}

type line struct {
	Tool, Colour, Points string
	Width                float64
	Dots                 []dot
	LabelX, LabelY       int
	EndX, EndY           int // where the line ends: a hair leads from there to the label
}

type dot struct {
	X, Y int
	Tip  string
}

// sweeps draws the sweep of each congestion control.
func (b *Bench) sweeps() []chart {
	var list []chart
	for _, cc := range b.values(Sweep, func(c *Cell) string { return c.CC }) {
		ch := chart{Title: "Hosts with " + cc, W: 548, H: 340, Left: 52, Top: 34, Right: 420, Bottom: 292}
		var losses []float64
		for _, c := range b.Cells {
			if c.Set == Sweep && c.CC == cc && len(c.Runs) > 0 && !slices.Contains(losses, c.Loss) {
				losses = append(losses, c.Loss)
			}
		}
		slices.Sort(losses)
		// One step per value: between 0, .1 and 20 % no scale serves all.
		x := func(loss float64) int {
			i := slices.Index(losses, loss)
			return ch.Left + 14 + i*(ch.Right-ch.Left-28)/max(1, len(losses)-1)
		}
		y := func(f float64) int {
			return ch.Bottom - int(math.Round(max(0, min(f, 1))*float64(ch.Bottom-ch.Top)))
		}
		for _, l := range losses {
			ch.XTicks = append(ch.XTicks, tick{x(l), percent(l)})
		}
		for f := 0; f <= 100; f += 20 {
			ch.YTicks = append(ch.YTicks, tick{y(float64(f) / 100), fmt.Sprintf("%d %%", f)})
		}
		for _, t := range b.Tools {
			l := line{Tool: t.Name, Colour: b.colour(t.Name), Width: 2}
			if t.Name == Ropeway {
				l.Width = 3.5
			}
			var points []string
			for _, loss := range losses {
				i := slices.IndexFunc(b.Cells, func(c Cell) bool {
					return c.Set == Sweep && c.CC == cc && c.Tool == t.Name && c.Loss == loss && len(c.Runs) > 0
				})
				if i < 0 {
					continue
				}
				f := b.Cells[i].Fraction()
				d := dot{x(loss), y(f.Median), fmt.Sprintf("%s, loss %s: %s of the link (%s to %s)", t.Name, percent(loss), share(f.Median), share(f.Least), share(f.Most))}
				l.Dots = append(l.Dots, d)
				points = append(points, fmt.Sprintf("%d,%d", d.X, d.Y))
			}
			if len(points) == 0 {
				continue
			}
			l.Points = strings.Join(points, " ")
			end := l.Dots[len(l.Dots)-1]
			l.EndX, l.EndY, l.LabelX, l.LabelY = end.X, end.Y, ch.Right+18, end.Y
			ch.Lines = append(ch.Lines, l)
		}
		spreadLabels(ch.Lines, ch.Top, ch.Bottom)
		// Ours is drawn last, so that nothing covers it.
		slices.SortStableFunc(ch.Lines, func(a, b line) int { return int(a.Width - b.Width) })
		list = append(list, ch)
	}
	return list
}

// spreadLabels moves labels apart so that each can be read.
func spreadLabels(lines []line, top, bottom int) {
	const step = 15
	order := make([]*line, len(lines))
	for i := range lines {
		order[i] = &lines[i]
	}
	slices.SortStableFunc(order, func(a, b *line) int { return a.LabelY - b.LabelY })
	for i, l := range order {
		if i > 0 {
			l.LabelY = max(l.LabelY, order[i-1].LabelY+step)
		} else {
			l.LabelY = max(l.LabelY, top)
		}
	}
	for i, low := len(order)-1, bottom; i >= 0; i, low = i-1, low-step {
		order[i].LabelY = min(order[i].LabelY, low)
	}
}

// strip is the bytes of one run against time.
type strip struct {
	Tool, Colour, Path, Text string
	Top                      int
	Marks                    []tick // when it moved again, when it ended
}

// strips are the runs of one event, under one time axis.
type strips struct {
	Title            string
	W, H             int
	Left, Right      int
	High             int // of one strip
	DownAt, DownWide int // the outage, in pixels; DownWide 0: only a moment
	XTicks           []tick
	Rows             []strip
}

// timelines draws the runs with a series, one figure for each event.
func (b *Bench) timelines() []strips {
	var list []strips
	for _, name := range b.values(Timeline, func(c *Cell) string { return c.Event }) {
		var cells []*Cell
		end, peak := 0.0, 0.0
		for i := range b.Cells {
			c := &b.Cells[i]
			r := c.middle()
			if c.Set != Timeline || c.Event != name || r == nil || len(r.Series) == 0 {
				continue
			}
			cells = append(cells, c)
			end = max(end, r.Seconds)
			for _, v := range smooth(r.Series) {
				peak = max(peak, v)
			}
		}
		if len(cells) == 0 {
			continue
		}
		order := func(c *Cell) int {
			return slices.IndexFunc(b.Tools, func(t Tool) bool { return t.Name == c.Tool })
		}
		slices.SortStableFunc(cells, func(x, y *Cell) int { return order(x) - order(y) })
		const high, gap, top = 56, 30, 40
		s := strips{Title: name, W: 1120, Left: 110, Right: 1090, High: high}
		x := func(sec float64) int { return s.Left + int(sec/end*float64(s.Right-s.Left)) }
		for i, c := range cells {
			r := c.middle()
			if r.EventAt > 0 && s.DownAt == 0 {
				s.DownAt = x(r.EventAt)
				s.DownWide = max(0, x(min(r.BackAt, end))-s.DownAt)
			}
			row := strip{Tool: c.Tool, Colour: b.colour(c.Tool), Top: top + i*(high+gap), Text: timelineText(c, r)}
			row.Path = area(smooth(r.Series), x, row.Top+high, high, peak)
			if r.First > 0 {
				row.Marks = append(row.Marks, tick{x(r.BackAt + r.First), fmt.Sprintf("moves again after %s s", seconds(r.First))})
			}
			s.Rows = append(s.Rows, row)
		}
		s.H = top + len(cells)*(high+gap)
		step := niceStep(end)
		for t := 0.0; t <= end; t += step {
			s.XTicks = append(s.XTicks, tick{x(t), fmt.Sprintf("%g s", t)})
		}
		list = append(list, s)
	}
	return list
}

func timelineText(c *Cell, r *Run) string {
	text := outcomeText(c)
	if r.First > 0 {
		text += fmt.Sprintf("; first byte %s s after the link was back", seconds(r.First))
	}
	if r.Full > 0 {
		text += fmt.Sprintf(", full speed after %s s", seconds(r.Full))
	}
	return text
}

// smooth averages a series over five buckets: what a person can see.
func smooth(series []int64) []float64 {
	out := make([]float64, len(series))
	for i := range series {
		sum, n := int64(0), int64(0)
		for k := max(0, i-2); k <= min(len(series)-1, i+2); k++ {
			sum, n = sum+series[k], n+1
		}
		out[i] = float64(sum) / float64(n)
	}
	return out
}

// area is the path of a filled curve, with at most one point per pixel.
func area(v []float64, x func(float64) int, floor, high int, peak float64) string {
	var s strings.Builder
	last := -1
	for i, b := range v {
		at := x(float64(i) * Bucket.Seconds())
		if at == last && i != len(v)-1 {
			continue
		}
		y := floor - int(b/max(peak, 1)*float64(high))
		if last < 0 {
			fmt.Fprintf(&s, "M%d %d", at, floor)
		}
		fmt.Fprintf(&s, "L%d %d", at, y)
		last = at
	}
	if last >= 0 {
		fmt.Fprintf(&s, "L%d %dZ", last, floor)
	}
	return s.String()
}

// niceStep divides an axis into five to twelve parts.
func niceStep(end float64) float64 {
	for _, step := range []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600} {
		if end/step <= 12 {
			return step
		}
	}
	return end / 10
}

// values are the different values of a field in a set, in order of appearance.
func (b *Bench) values(set Set, of func(*Cell) string) (list []string) {
	for i := range b.Cells {
		if c := &b.Cells[i]; c.Set == set && len(c.Runs) > 0 && !slices.Contains(list, of(c)) {
			list = append(list, of(c))
		}
	}
	return list
}
