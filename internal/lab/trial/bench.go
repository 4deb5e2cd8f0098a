package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
)

// BenchOptions says what a campaign measures.
type BenchOptions struct {
	Full     bool     // all there is; otherwise what fits into ten minutes
	Tools    []string // only these; empty: all
	Profiles []string // instead of those that belong to the campaign
	Sets     []string // only these sets of cells, by report.Set; empty: all
	Rounds   int      // of each cell; those that had to be stopped are not repeated
	Dir      string   // a new directory is made in it; "": the system's place
	Keep     bool     // leave that directory
	Self     string   // path of our own program
	Command  string   // for the report

	// Done is an earlier campaign that was not finished: what it has is not
	// measured again. nil: none.
	Done *report.Bench
	// Limit stops the campaign after so long, between two cells; 0: none.
	Limit time.Duration

	// Progress is told before each cell, and Save gets the campaign after
	// each. Neither is called at once with itself or the other. Either may be nil.
	Progress func(Progress)
	Save     func(*report.Bench) error
}

// Progress is how far a campaign is.
type Progress struct {
	Done, Total int           // cells
	Left        time.Duration // at a guess
	Now         string        // what is being measured
}

// beside is how many runs with an event go on at once: they mostly wait.
const beside = 10

// Bench measures a campaign. A campaign that is stopped returns what it has,
// with the error.
func Bench(ctx context.Context, o BenchOptions) (*report.Bench, error) { return bench(ctx, o, openLab) }

func bench(ctx context.Context, o BenchOptions, open opener) (*report.Bench, error) {
	o.Rounds = min(max(o.Rounds, 1), 25)
	all := tools(o.Self)
	list, err := plan(o, all)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fault.New(fault.Usage, "", "nothing to measure: %s", missing(all, o.Tools))
	}
	dir, err := os.MkdirTemp(o.Dir, "ropeway-bench-")
	if err != nil {
		return nil, fault.Wrap(fault.Other, err, "give another place with --dir", "no room for the campaign")
	}
	if !o.Keep {
		defer removeAll(dir)
	}
	if n := free(dir); n >= 0 && n < roomFor(o) {
		return nil, fault.New(fault.Limit, "give another place with --dir", "%s has %d MB free; the campaign needs %d MB", dir, n>>20, roomFor(o)>>20)
	}
	c := &campaign{o: o, open: open, dir: dir, list: list, payloads: &payloads{dir: dir, made: map[string]*payload{}}, from: time.Now()}
	c.result = o.Done
	if c.result == nil {
		c.result = &report.Bench{Command: o.Command, Begun: c.from.UTC(), Machine: machine()}
	}
	c.before = c.result.Elapsed
	if err := c.describe(ctx, all); err != nil {
		return nil, err
	}
	err = c.run(ctx)
	c.result.Elapsed = c.before + time.Since(c.from).Seconds()
	return c.result, err
}

// roomFor is how much disk a campaign needs, in bytes.
func roomFor(o BenchOptions) int64 {
	if o.Full {
		return 3 << 30
	}
	return 1 << 30
}

// removeAll removes what runs have left. What tools made unreadable stays with
// a message of the system's own tools, not of ours: there is nothing to do.
func removeAll(dir string) { _ = os.RemoveAll(dir) }

func missing(all []tool, only []string) string {
	var list []string
	for i := range all {
		if why := all[i].missing(); why != "" && (len(only) == 0 || slices.Contains(only, all[i].name)) && !slices.Contains(list, why) {
			list = append(list, why)
		}
	}
	if len(list) == 0 {
		return "the tools, profiles and sets that were asked for do not meet"
	}
	return strings.Join(list, "; ")
}

// campaign is one that runs.
type campaign struct {
	o        BenchOptions
	open     opener
	dir      string
	list     []cell
	payloads *payloads
	from     time.Time
	before   float64 // seconds of earlier parts

	mu      sync.Mutex // guards what follows, and orders Progress and Save
	result  *report.Bench
	done    int
	guessed time.Duration // for the cells that are done
	took    time.Duration
	num     int // of runs, names directories
}

// describe lists the tools. An earlier part of the campaign must have had the
// same, on the same machine: results are compared with each other.
func (c *campaign) describe(ctx context.Context, all []tool) error {
	const hint = "name another file to begin anew"
	if now, then := machine(), c.result.Machine; now.Kernel != then.Kernel || now.CPU != then.CPU || now.Cores != then.Cores {
		return fault.New(fault.Usage, hint, "the earlier results are from another machine: %d × %s, kernel %s", then.Cores, then.CPU, then.Kernel)
	}
	earlier := c.result.Tools
	c.result.Tools = nil
	for i := range all {
		t := &all[i]
		used := slices.ContainsFunc(c.list, func(x cell) bool { return x.Tool == t.name }) ||
			slices.ContainsFunc(c.result.Cells, func(x report.Cell) bool { return x.Tool == t.name })
		asked := len(c.o.Tools) == 0 || slices.Contains(c.o.Tools, t.name)
		if !used && (!asked || t.missing() == "") {
			continue
		}
		d := t.describe(ctx, c.o.Self)
		for _, e := range earlier {
			if e.Name == d.Name && e.Missing == "" && d.Missing == "" && e.Version != d.Version {
				return fault.New(fault.Usage, hint, "the earlier results are of %q, here is %q", e.Version, d.Version)
			}
		}
		c.result.Tools = append(c.result.Tools, d)
	}
	return nil
}

// run measures what is not measured yet: first, one by one, what needs the
// whole machine, then the rest, several at once.
func (c *campaign) run(ctx context.Context) error {
	var alone, shared []*cell
	for i := range c.list {
		x := &c.list[i]
		if c.result.Find(x.Key()) != nil {
			c.done++
			continue
		}
		if x.alone {
			alone = append(alone, x)
		} else {
			shared = append(shared, x)
		}
	}
	// Files are made before anything is timed.
	for _, x := range c.list {
		if _, err := c.payloads.get(ctx, x.Payload); err != nil {
			return err
		}
	}
	for _, x := range alone {
		if c.late() {
			return c.stopped()
		}
		if err := c.measure(ctx, x, alone, shared); err != nil {
			return err
		}
	}
	return c.together(ctx, shared)
}

// together measures cells side by side.
func (c *campaign) together(ctx context.Context, list []*cell) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan *cell)
	var workers sync.WaitGroup
	for range beside {
		workers.Go(func() {
			for x := range next {
				if err := c.measure(ctx, x, nil, list); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	err := func() error {
		defer close(next)
		for _, x := range list {
			if c.late() {
				return c.stopped()
			}
			select {
			case next <- x:
			case <-ctx.Done():
				return nil // whoever stopped it says why
			}
		}
		return nil
	}()
	workers.Wait()
	return errors.Join(context.Cause(ctx), err)
}

func (c *campaign) late() bool { return c.o.Limit > 0 && time.Since(c.from) > c.o.Limit }

func (c *campaign) stopped() error {
	return fault.New(fault.Limit, "run the same command again to continue", "stopped after %s, with %d of %d cells", time.Since(c.from).Round(time.Second), c.done, len(c.list))
}

// measure runs all rounds of a cell.
func (c *campaign) measure(ctx context.Context, x *cell, alone, shared []*cell) error {
	c.tell(x, alone, shared)
	began := time.Now()
	if x.Why == "" {
		p, err := c.payload(ctx, x.Payload)
		if err != nil {
			return err
		}
		x.Bytes = p.bytes
		for round := range x.rounds {
			r := &run{
				tool: x.tool, payload: p, bound: x.bound, event: x.event, dir: c.place(),
				setting: setting{profile: x.profile, cc: x.CC, seed: uint64(round + 1)},
			}
			res, err := r.do(ctx, c.open)
			if !c.o.Keep {
				removeAll(r.dir)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", x.name(), err)
			}
			if x.Set != report.Timeline {
				res.Series = nil
			}
			x.Runs = append(x.Runs, res)
			if res.Outcome == report.Slow || res.Outcome == report.Hang {
				break
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.result.Cells = append(c.result.Cells, x.Cell)
	c.result.Elapsed = c.before + time.Since(c.from).Seconds()
	c.done++
	c.guessed += x.guess()
	c.took += time.Since(began)
	if c.o.Save != nil {
		return c.o.Save(c.result)
	}
	return nil
}

func (c *campaign) payload(ctx context.Context, name string) (*payload, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.payloads.get(ctx, name)
}

// place is a directory for a run.
func (c *campaign) place() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.num++
	return filepath.Join(c.dir, fmt.Sprintf("run-%03d", c.num))
}

// name is the cell for people.
func (x *cell) name() string {
	s := fmt.Sprintf("%s, %s, %s, %s", x.Tool, x.Link, x.CC, x.Payload)
	if x.Event != "" {
		s += ", " + x.Event
	}
	return s
}

// tell reports progress. What is left is what was guessed for it, times what
// guesses have turned out to be worth.
func (c *campaign) tell(x *cell, alone, shared []*cell) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Progress == nil {
		return
	}
	var left time.Duration
	measured := func(y *cell) bool { return c.result.Find(y.Key()) != nil }
	for _, y := range alone {
		if !measured(y) {
			left += y.guess()
		}
	}
	var side time.Duration
	for _, y := range shared {
		if !measured(y) {
			side += y.guess()
		}
	}
	left += side / beside
	if c.guessed > 0 {
		left = time.Duration(float64(left) * min(3, max(.3, float64(c.took)/float64(c.guessed))))
	}
	c.o.Progress(Progress{Done: c.done, Total: len(c.list), Left: left, Now: x.name()})
}
