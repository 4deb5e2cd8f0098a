package trial

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/link"
)

// act makes one take of a scene.
type act struct {
	*replay
	scene *scene
	ours  bool
	net   network
	event link.Event
	take  *Take
	dir   string

	stage  *stage
	tool   tool
	follow *follower
	from   time.Time // the client was started
}

// play sets the stage, has the client run through the event, and looks at what
// came of it.
func (a *act) play(ctx context.Context) (err error) {
	x := a.scene
	ha, hb := a.net.hosts()
	if err := configure(x.settings, ha, hb); err != nil {
		return err
	}
	if a.stage, err = newStage(ctx, ha, hb, a.dir, a.payload, x.push); err != nil {
		return err
	}
	s := a.stage
	s.loud = true
	defer s.close()
	a.tool = rsync("rsync", x.push, x.flags...)
	if a.ours {
		want := report.Ropeway
		if x.push {
			want = ropewayPush
		}
		all := tools(a.o.Self)
		a.tool = all[slices.IndexFunc(all, func(t tool) bool { return t.name == want })]
	}
	if err := a.tool.serve(ctx, s); err != nil {
		return err
	}
	a.follow = follow()
	defer func() {
		a.take.Transcript = a.follow.close()
		if a.take.Transcript == nil {
			a.take.Transcript = []Line{}
		}
		for i := range a.take.Transcript {
			a.take.Transcript[i].Text = a.plain(a.take.Transcript[i].Text)
		}
	}()
	a.follow.file("server", s.log, length(s.log)) // not its greeting
	a.take.Commands = []string{s.commandLine(ha, s.server.argv, a.o.Self)}
	before := a.net.counters().Events
	a.net.schedule(a.event)
	client, err := a.client("client.out")
	if err != nil {
		return err
	}
	defer client.kill()
	a.from = client.from
	if err := a.untilEvent(ctx, client, before); err != nil {
		return err
	}
	if x.rerun {
		return a.again(ctx, client)
	}
	bound := x.bound
	if a.ours {
		bound = max(bound, time.Minute)
	}
	if err := a.wait(ctx, bound, func() bool { return client.ended() || !a.ours && x.log != "" && strings.Contains(tail(s.log), x.log) }); err != nil {
		return err
	}
	if !client.ended() && x.log != "" && !a.ours {
		if err := a.wait(ctx, x.after, client.ended); err != nil {
			return err
		}
	}
	if !client.ended() {
		a.lookAt(client)
	}
	return a.judge(ctx, client)
}

// client starts the client.
func (a *act) client(log string) (*process, error) {
	c := a.tool.client(a.stage)
	name := filepath.Join(a.dir, log)
	a.follow.file("client", name, 0)
	p, err := start(a.stage.b, c, name)
	if err != nil {
		return nil, err
	}
	if a.from.IsZero() {
		a.follow.restart()
	}
	a.take.Commands = append(a.take.Commands, a.stage.commandLine(a.stage.b, c.argv, a.o.Self))
	return p, nil
}

// plain leaves out the long names of our temporary directories.
func (a *act) plain(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, a.dir+"/", ""), a.payload.dir, "src")
}

// untilEvent waits until the event has happened, and notes it.
func (a *act) untilEvent(ctx context.Context, client *process, before int64) error {
	if err := a.wait(ctx, time.Minute, func() bool { return client.ended() || a.net.counters().Events > before }); err != nil {
		return err
	}
	if a.net.counters().Events > before {
		a.take.EventAt = time.Since(a.from).Seconds()
		a.follow.mark("event: " + a.event.String())
	}
	return nil
}

// wait waits until the check passes or the bound is over.
func (a *act) wait(ctx context.Context, bound time.Duration, check func() bool) error {
	timer := time.NewTimer(bound)
	defer timer.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// lookAt notes what a client that does not end is doing: its processes and the
// sockets of both ends.
func (a *act) lookAt(client *process) {
	since := time.Since(a.from).Seconds() - a.take.EventAt
	a.follow.note(fmt.Sprintf("still running %s s after the event", strconv.FormatFloat(since, 'f', 0, 64)))
	for _, p := range group(client.cmd.Process.Pid) {
		a.follow.note(p)
	}
	for _, end := range []struct {
		name string
		pid  int
	}{{"a", a.stage.server.cmd.Process.Pid}, {"b", client.cmd.Process.Pid}} {
		n := 0
		for _, s := range sockets(end.pid) {
			if s.State != "LISTEN" && s.State != "TIME-WAIT" {
				a.follow.note("socket on " + end.name + ": " + s.String())
				n++
			}
		}
		if n == 0 {
			a.follow.note("socket on " + end.name + ": none, this end is gone")
		}
	}
}

// group lists the processes of a group: number, name, state and what they wait
// for in the kernel.
func group(leader int) (list []string) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", d.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name stands in brackets and may hold anything (man 5 proc).
		head, rest, ok := strings.Cut(string(b), "(")
		i := strings.LastIndexByte(rest, ')')
		if !ok || i < 0 {
			continue
		}
		f := strings.Fields(rest[i+1:])
		if len(f) < 3 || f[2] != strconv.Itoa(leader) {
			continue
		}
		text := fmt.Sprintf("process %s(%s) state %s", head, rest[:i], f[0])
		if w, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "wchan")); err == nil && len(w) > 1 {
			text += ", waiting in " + string(w)
		}
		list = append(list, text)
	}
	return list
}

// judge says how it ended.
func (a *act) judge(ctx context.Context, client *process) error {
	t := a.take
	t.Seconds, t.Exit, t.Outcome = time.Since(a.from).Seconds(), -1, report.Hang
	if client.ended() {
		t.Exit = client.exit()
	}
	client.kill()
	same, err := a.payload.identical(ctx, a.stage.dst)
	if err != nil {
		return err
	}
	t.Left = listing(a.stage.dst)
	switch {
	case t.Exit == 0 && same:
		t.Outcome = report.OK
		t.Result = fmt.Sprintf("finished by itself after %.1f s, %.1f s after the event; the file is identical (SHA-256)", t.Seconds, t.Seconds-t.EventAt)
	case t.Exit == 0:
		t.Outcome = report.Damaged
		t.Result = "ended with 0, but the file is not identical"
	case t.Exit > 0:
		t.Outcome = report.Failed
		t.Result = fmt.Sprintf("ended with exit code %d, %.1f s after the event; the file is not complete", t.Exit, t.Seconds-t.EventAt)
	default:
		t.Result = fmt.Sprintf("still hanging %.0f s after the event; stopped by us", t.Seconds-t.EventAt)
	}
	return nil
}

// again is what a user does: stop the client that hangs, run the same command
// once more, be content. Then the old server process ends.
func (a *act) again(ctx context.Context, client *process) error {
	t, s := a.take, a.stage
	if err := a.wait(ctx, 3*time.Second, client.ended); err != nil {
		return err
	}
	if !client.ended() {
		a.follow.note("the user kills the client and runs the same command again")
		client.kill()
	}
	second, err := a.rerun(ctx)
	if err != nil {
		return err
	}
	defer second.kill()
	same, err := a.payload.identical(ctx, s.dst)
	if err != nil {
		return err
	}
	if !second.ended() || second.exit() != 0 || !same {
		return a.judge(ctx, second)
	}
	for _, l := range listing(s.dst) {
		a.follow.note("destination: " + l)
	}
	a.follow.note("the destination is complete and identical; now the first connection's server process ends")
	name := filepath.Join(s.dst, a.payload.file)
	if err := a.wait(ctx, 50*time.Second, func() bool { return length(name) != a.payload.bytes }); err != nil {
		return err
	}
	same, err = a.payload.identical(ctx, s.dst)
	if err != nil {
		return err
	}
	t.Seconds, t.Exit, t.Left = time.Since(a.from).Seconds(), 0, listing(s.dst)
	t.Outcome, t.Result = report.OK, fmt.Sprintf("the second run finished, and %.0f s after the event the file is still identical (SHA-256)", t.Seconds-t.EventAt)
	if !same {
		t.Outcome, t.Result = report.Damaged, "the finished file was replaced by the partial of the first run; nobody is told"
		for _, l := range t.Left {
			a.follow.note("destination: " + l)
		}
	}
	return nil
}

// rerun runs the client again; as long as it says that it is busy, which
// can be retried, again after some seconds.
func (a *act) rerun(ctx context.Context) (p *process, err error) {
	for try := 2; ; try++ {
		if p, err = a.client(fmt.Sprintf("client%d.out", try)); err != nil {
			return nil, err
		}
		if err := a.wait(ctx, a.scene.bound, p.ended); err != nil {
			p.kill()
			return nil, err
		}
		if !a.ours || try > 5 || !p.ended() || p.exit() != int(fault.Busy) {
			return p, nil
		}
		a.follow.note("exit code 9 says that it can be tried again; the user does so after 5 s")
		if err := a.wait(ctx, 5*time.Second, func() bool { return false }); err != nil {
			return nil, err
		}
	}
}

// length is the size of a file, -1 if there is none.
func length(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return -1
	}
	return info.Size()
}

// listing is what a directory holds, hidden files too.
func listing(dir string) []string {
	list := []string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return list
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.IsDir() {
			continue
		}
		list = append(list, fmt.Sprintf("%s %12d %s %s", info.Mode(), info.Size(), info.ModTime().UTC().Format("2006-01-02 15:04"), e.Name()))
	}
	return list
}

// ropewayPush is our tool as a client that sends.
const ropewayPush = "ropeway-push"
