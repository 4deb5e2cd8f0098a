package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/link"
)

// IncidentOptions says how the incident is replayed.
type IncidentOptions struct {
	Quick  bool     // shorter waits, which are said
	Scenes []string // only these, by key; empty: all
	Dir    string   // a new directory is made in it; "": the system's place
	Keep   bool     // leave that directory
	Self   string   // path of our own program

	// Show gets each scene, in order. Progress is told what is waited for.
	// Neither is called at once with itself or the other.
	Show     func(Scene)
	Progress func(Progress)
}

// Scene is one failure of rsync, and what we do under the same event.
type Scene struct {
	Key      string   `json:"key"`
	Title    string   `json:"title"`
	Link     string   `json:"link"`
	Event    string   `json:"event"`
	Settings []string `json:"settings"` // of the kernels, where they are not the usual ones
	Why      []string `json:"why"`
	Rsync    Take     `json:"rsync"`
	Ropeway  Take     `json:"ropeway"`
	Shown    bool     `json:"shown"`    // rsync failed as the title says
	Survived bool     `json:"survived"` // ropeway finished by itself, and the file is identical
}

// Take is one transfer under an event.
type Take struct {
	Commands   []string       `json:"commands"`
	Transcript []Line         `json:"transcript"`
	Outcome    report.Outcome `json:"outcome"`
	Exit       int            `json:"exit"` // -1: stopped by us
	Seconds    float64        `json:"seconds"`
	EventAt    float64        `json:"event_at"`
	Result     string         `json:"result"` // a sentence
	Left       []string       `json:"left"`   // what is at the destination, as ls lists it
}

// halves is how many takes go on at once: most of the time they wait.
const halves = 4

// Incident replays the incident: each scene with the real rsync, then with
// ropeway. It fails if ropeway does not survive a scene.
func Incident(ctx context.Context, o IncidentOptions) error { return incident(ctx, o, openLab) }

func incident(ctx context.Context, o IncidentOptions, open opener) error {
	if _, err := rsyncProgram.find(); err != nil {
		return fault.New(fault.NotFound, "apt-get install rsync", "the incident needs the real rsync: %v", err)
	}
	if oneUser() {
		return fault.New(fault.Denied, "sudo ropeway lab incident", "%s", noDaemon)
	}
	list, err := chosen(o)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.Dir, "ropeway-incident-")
	if err != nil {
		return fault.Wrap(fault.Other, err, "give another place with --keep", "no room for the incident")
	}
	if !o.Keep {
		defer removeAll(dir)
	}
	p, err := (&payloads{dir: dir, made: map[string]*payload{}}).get(ctx, Jar)
	if err != nil {
		return err
	}
	r := &replay{o: o, open: open, dir: dir, payload: p, list: list, from: time.Now()}
	return r.run(ctx)
}

func chosen(o IncidentOptions) ([]scene, error) {
	all := scenes(o.Quick)
	if len(o.Scenes) == 0 {
		return all, nil
	}
	var list []scene
	var keys []string
	for _, s := range all {
		keys = append(keys, s.key)
	}
	for _, want := range o.Scenes {
		found := false
		for _, s := range all {
			if s.key == want {
				list, found = append(list, s), true
			}
		}
		if !found {
			return nil, fault.New(fault.Usage, "", "no scene %q; there are %s", want, strings.Join(keys, ", "))
		}
	}
	return list, nil
}

// replay is one that runs.
type replay struct {
	o       IncidentOptions
	open    opener
	dir     string
	payload *payload
	list    []scene
	from    time.Time

	mu      sync.Mutex // guards what follows, and orders Show and Progress
	running []string
	done    int
}

// half is a take that is to be made.
type half struct {
	scene int
	ours  bool
	take  Take
}

func (r *replay) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	jobs := make([]half, 0, 2*len(r.list))
	for i := range r.list {
		jobs = append(jobs, half{scene: i}, half{scene: i, ours: true})
	}
	next := make(chan *half)
	ended := make(chan *half, len(jobs))
	var workers sync.WaitGroup
	for range halves {
		workers.Go(func() {
			for h := range next {
				if err := r.perform(ctx, h); err != nil {
					stop(err)
					return
				}
				ended <- h
			}
		})
	}
	workers.Go(func() { // the workers' food
		defer close(next)
		for i := range jobs {
			select {
			case next <- &jobs[i]:
			case <-ctx.Done():
				return
			}
		}
	})
	err := r.gather(ctx, jobs, ended)
	if err != nil {
		stop(err)
	}
	workers.Wait()
	return err
}

// gather shows scenes as soon as they and those before them are complete.
func (r *replay) gather(ctx context.Context, jobs []half, ended <-chan *half) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	complete := make([]int, len(r.list))
	var lost []string
	for shown := 0; shown < len(r.list); {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			r.tell()
			continue
		case h := <-ended:
			complete[h.scene]++
		}
		for ; shown < len(r.list) && complete[shown] == 2; shown++ {
			s := r.compose(shown, &jobs[2*shown].take, &jobs[2*shown+1].take)
			if !s.Survived {
				lost = append(lost, s.Key)
			}
			if r.o.Show != nil {
				r.o.Show(s)
			}
		}
	}
	if len(lost) > 0 {
		return fault.New(fault.Integrity, "please report it, with what --keep DIR has kept", "ropeway did not survive: %s", strings.Join(lost, ", "))
	}
	return nil
}

// compose makes a scene of its takes.
func (r *replay) compose(i int, theirs, ours *Take) Scene {
	x := r.list[i]
	s := Scene{
		Key: x.key, Title: x.title, Link: incidentLink, Event: x.event, Why: x.why, Settings: []string{},
		Rsync: *theirs, Ropeway: *ours, Shown: x.failed(theirs), Survived: ours.Outcome == report.OK,
	}
	for _, k := range x.settings {
		s.Settings = append(s.Settings, fmt.Sprintf("host %s: %s=%s, to make it quick (usually %s)", string(rune('a'+k.host)), k.name, k.value, k.said))
	}
	return s
}

func (r *replay) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.o.Progress != nil {
		r.o.Progress(Progress{Done: r.done, Total: 2 * len(r.list), Now: strings.Join(r.running, ", ")})
	}
}

// The link of the incident: nothing else is wrong with it.
const incidentLink = "40 Mbit/s, 30 ms, no loss"

func incidentProfile() link.Profile {
	params := link.Params{Rate: eventRate, Delay: eventDelay}
	return link.Profile{Name: incidentLink, AB: params, BA: params}
}

// perform makes one take.
func (r *replay) perform(ctx context.Context, h *half) (err error) {
	x := &r.list[h.scene]
	who := "rsync"
	if h.ours {
		who = report.Ropeway
	}
	name := x.key + "/" + who
	r.mu.Lock()
	r.running = append(r.running, name)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.done++
		for i, n := range r.running {
			if n == name {
				r.running = append(r.running[:i:i], r.running[i+1:]...)
				break
			}
		}
	}()
	event, err := link.ParseEvent(x.event)
	if err != nil {
		return fault.Wrap(fault.Other, err, "", "the scene %s", x.key)
	}
	net, err := r.open(ctx, setting{profile: incidentProfile(), cc: "cubic", seed: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, net.close()) }()
	a := &act{replay: r, scene: x, ours: h.ours, net: net, event: event, take: &h.take, dir: filepath.Join(r.dir, x.key+"-"+who)}
	if err := a.play(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
