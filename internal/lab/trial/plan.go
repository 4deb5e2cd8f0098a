package trial

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/link"
)

// cell is one that is to be measured.
type cell struct {
	report.Cell
	tool    *tool
	profile link.Profile
	event   *link.Event
	bound   time.Duration
	rounds  int
	alone   bool // nothing else may run beside it
}

// guess is how long all rounds of the cell will take, at a guess.
func (x *cell) guess() time.Duration {
	full := 1.5 // seconds, to begin and to verify
	if x.Limit > 0 {
		full += 8 * float64(x.Bytes) / x.Limit
	}
	once := min(x.bound.Seconds(), full*1.2)
	switch {
	case x.event != nil:
		once = min(x.bound.Seconds(), full+x.event.For.Seconds()+20)
	case x.CC == "cubic" && x.Loss > 0 && x.Tool != report.Ropeway:
		return x.bound // it will be stopped, and then not repeated
	}
	return time.Duration(once * float64(x.rounds) * float64(time.Second))
}

// The link of the sweep and of the events, and the events of the matrix.
const (
	sweepRate  = 100_000_000 // bit/s
	sweepDelay = 20 * time.Millisecond
	eventRate  = 40_000_000 // so that several fit on one machine
	eventDelay = 15 * time.Millisecond
)

// matrix is the events that tools are tried with, and what they are in words:
// research on a first instrument chose them because tools differ in them.
var matrix = []struct {
	text, about string
	quick       bool
}{
	{"forget@20MB", "state lost silently", true},
	{"forget:ab@20MB", "the same, server to client only", false},
	{"forget:ba@20MB", "the same, client to server only", false},
	{"reset:a@20MB", "RST to the server, the rest silent", false},
	{"reset:b@20MB", "RST to the client, the rest silent", true},
	{"reset:both@20MB", "RST to both, the rest silent", false},
	{"reset:b,intact@20MB", "forged RST to the client", false},
	{"forget:rst@20MB", "state lost, packets answered by RST", false},
	{"blackout@20MB for 10s", "outage of 10 s", false},
	{"blackout@20MB for 30s", "outage of 30 s", true},
	{"blackout@20MB for 70s", "outage of 70 s", false},
	{"stall@20MB for 70s", "all is late for 70 s, nothing lost", false},
	{"age:5MB,rst", "each connection is reset after 5 MB", false},
	{"age:4s", "each connection is forgotten after 4 s", false},
}

// planner makes the list of cells.
type planner struct {
	o     BenchOptions
	tools []tool
	sizes map[string]int64 // of payloads
	list  []cell
}

// wants reports whether the tool takes part.
func (p *planner) wants(name string) bool {
	return len(p.o.Tools) == 0 || slices.Contains(p.o.Tools, name)
}

// add adds one cell, unless it is not asked for or cannot be.
func (p *planner) add(c cell, name, payload string) {
	i := slices.IndexFunc(p.tools, func(t tool) bool { return t.name == name })
	if i < 0 || !p.wants(name) || p.tools[i].missing() != "" {
		return
	}
	c.tool = &p.tools[i]
	if len(p.o.Sets) > 0 && !slices.Contains(p.o.Sets, string(c.Set)) {
		return
	}
	c.Tool, c.Payload, c.Bytes = name, payload, p.sizes[payload]
	c.Why = c.tool.cannot(payload)
	params := c.profile.AB
	if c.tool.push {
		params = c.profile.BA
	}
	c.Link, c.RTT, c.Rate, c.Limit = c.profile.Name, c.profile.RTT().Seconds(), params.Rate, limit(params)
	if c.Loss == 0 {
		c.Loss = loss(params)
	}
	c.Bound = c.bound.Seconds()
	if c.rounds == 0 {
		c.rounds = p.o.Rounds
	}
	p.list = append(p.list, c)
}

// plan returns the cells of a campaign, in the order in which they are
// measured.
func plan(o BenchOptions, all []tool) ([]cell, error) {
	p := &planner{o: o, tools: all, sizes: map[string]int64{
		Jar: JarSize, Small: smallSize, Tree2k: 2000 * 10_000, Tree100: 100_000 * 2000, Upgrade: 36_000_000,
	}}
	for _, name := range o.Tools {
		if !slices.ContainsFunc(all, func(t tool) bool { return t.name == name }) {
			return nil, fault.New(fault.Usage, "", "no tool %q; there are %s", name, strings.Join(names(all), ", "))
		}
	}
	profiles := o.Profiles
	if len(profiles) == 0 {
		if profiles = []string{"qa-vpn"}; o.Full {
			profiles = []string{"qa-vpn", "bad-vpn", "awful", "intercontinental"}
		}
	}
	p.sweep()
	for _, name := range profiles {
		x, err := link.Find(name)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err, "'ropeway lab profiles' lists them", "--profiles")
		}
		p.profile(x)
	}
	if err := p.files(); err != nil {
		return nil, err
	}
	if err := p.events(); err != nil {
		return nil, err
	}
	return p.list, nil
}

func names(all []tool) (list []string) {
	for _, t := range all {
		list = append(list, t.name)
	}
	return list
}

// sweep is one link with growing loss. curl, wget and rclone send one file over
// one connection alike: wget stands for them.
func (p *planner) sweep() {
	losses, bound, ccs := []float64{0, .01, .05}, 12*time.Second, []string{"cubic", "bbr"}
	who := []string{report.Ropeway, "rsync", "wget", "aria2c"}
	if p.o.Full {
		losses, bound = []float64{0, .01, .02, .05, .1, .15, .2}, 20*time.Second
	}
	for _, cc := range ccs {
		for _, loss := range losses {
			for _, name := range who {
				if !p.o.Full && (cc == "bbr" && loss == 0 || name == "aria2c" && cc == "bbr") {
					continue
				}
				params := link.Params{Rate: sweepRate, Delay: sweepDelay, Loss: loss}
				p.add(cell{
					Cell:    report.Cell{Set: report.Sweep, CC: cc, Loss: loss},
					profile: link.Profile{Name: fmt.Sprintf("100 Mbit/s, 40 ms, loss %.3g %%", 100*loss), AB: params, BA: params},
					bound:   bound, alone: true,
				}, name, Jar)
			}
		}
	}
}

// profile is the file over one link that has a name.
func (p *planner) profile(x link.Profile) {
	bound, ccs := 12*time.Second, []string{"cubic"}
	who := []string{report.Ropeway, "rsync", "wget", "aria2c"}
	if p.o.Full {
		bound, ccs = 20*time.Second, []string{"cubic", "bbr"}
		who = []string{report.Ropeway, "rsync", "rsync-T60", "wget", "curl", "aria2c", "rclone"}
	}
	for _, cc := range ccs {
		for _, name := range who {
			p.add(cell{Cell: report.Cell{Set: report.Profile, CC: cc}, profile: x, bound: bound, alone: true}, name, Jar)
		}
	}
}

// files are trees and an upgrade.
func (p *planner) files() error {
	x, err := link.Find("qa-vpn")
	if err != nil {
		return fault.Wrap(fault.Other, err, "", "the link for trees")
	}
	type row struct {
		payload, cc string
		bound       time.Duration
		who         []string
	}
	rows := []row{
		{Tree2k, "bbr", 15 * time.Second, []string{report.Ropeway, "rsync"}},
		{Upgrade, "bbr", 15 * time.Second, []string{report.Ropeway, "rsync"}},
	}
	if p.o.Full {
		rows = []row{
			{Tree2k, "cubic", time.Minute, []string{report.Ropeway, "rsync", "wget", "rclone"}},
			{Tree2k, "bbr", time.Minute, []string{report.Ropeway, "rsync", "wget", "rclone"}},
			{Upgrade, "cubic", time.Minute, []string{report.Ropeway, "rsync", "rclone"}},
			{Upgrade, "bbr", time.Minute, []string{report.Ropeway, "rsync", "rclone"}},
			{Tree100, "cubic", 2 * time.Minute, []string{report.Ropeway, "rsync"}},
			{Tree100, "bbr", 2 * time.Minute, []string{report.Ropeway, "rsync"}},
		}
	}
	for _, r := range rows {
		for _, name := range r.who {
			p.add(cell{Cell: report.Cell{Set: report.Files, CC: r.cc}, profile: x, bound: r.bound, alone: true}, name, r.payload)
		}
	}
	return nil
}

// events are the time lines and the matrix.
func (p *planner) events() error {
	params := link.Params{Rate: eventRate, Delay: eventDelay}
	x := link.Profile{Name: "40 Mbit/s, 30 ms", AB: params, BA: params}
	put := func(set report.Set, text, about string, bound time.Duration, rounds int, who ...string) error {
		e, err := link.ParseEvent(text)
		if err != nil {
			return fault.Wrap(fault.Other, err, "", "the events of the matrix")
		}
		for _, name := range who {
			p.add(cell{Cell: report.Cell{Set: set, CC: "cubic", Event: text, About: about}, profile: x, event: &e, bound: bound, rounds: rounds}, name, Jar)
		}
		return nil
	}
	long := []string{"blackout@20MB for 30s"}
	who := []string{report.Ropeway, "rsync", "rsync-push-T60", "rsync-loop", "wget", "curl", "aria2c"}
	bound, rounds := 75*time.Second, 1
	if p.o.Full {
		long = append(long, "blackout@20MB for 70s", "forget@20MB")
		who = names(p.tools)
		bound = 120 * time.Second
	}
	for _, text := range long {
		if err := put(report.Timeline, text, "", bound, 1, report.Ropeway, "rsync", "rsync-T60", "wget", "aria2c"); err != nil {
			return err
		}
	}
	for _, e := range matrix {
		if !e.quick && !p.o.Full {
			continue
		}
		if err := put(report.Events, e.text, e.about, bound, rounds, who...); err != nil {
			return err
		}
	}
	return nil
}
