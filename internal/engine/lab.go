package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/lab"
	"github.com/ropeway/ropeway/internal/lab/netns"
)

// inLab runs f where labs can be made: here, or, without root, in a sandbox, in
// which this program runs once more with the same arguments. Then relayed is
// true, and exit what it ended with.
func (e *Engine) inLab(ctx context.Context, again cli.Again, f func() error) (relayed bool, exit int, err error) {
	if !netns.Need() {
		if err := netns.Enter(); err != nil {
			return false, 0, err
		}
		return false, 0, f()
	}
	dir := lab.RuntimeDir(e.getenv)
	// A signal of the terminal reaches both, one for this process alone does not.
	const polite, kill = 2 * time.Second, 15 * time.Second
	exit, err = netns.Sandbox(ctx, again.Args, []string{lab.RuntimeDirEnv + "=" + dir}, again.Stdin, again.Stdout, again.Stderr, polite, kill)
	return err == nil, exit, err
}

// logFunc is a log that passes each line on.
type logFunc func(text string)

// Write implements io.Writer.
func (f logFunc) Write(b []byte) (int, error) {
	n := len(b)
	for n > 0 && b[n-1] == '\n' {
		n--
	}
	f(string(b[:n]))
	return len(b), nil
}

// LabRun implements cli.Engine.
func (e *Engine) LabRun(ctx context.Context, o cli.LabOptions, hooks cli.LabHooks) (end cli.LabEnd, err error) {
	relayed, exit, err := e.inLab(ctx, o.Again, func() (err error) {
		end, err = e.labRun(ctx, o, hooks)
		return err
	})
	if relayed {
		return cli.LabEnd{Relayed: true, Exit: exit}, nil
	}
	return end, err
}

func (e *Engine) labRun(ctx context.Context, o cli.LabOptions, hooks cli.LabHooks) (end cli.LabEnd, err error) {
	// Events count from the start of the commands.
	profile := o.Profile
	events := append(slices.Clone(profile.Events), o.Events...)
	profile.Events = nil
	// The commands end with ctx; the lab closes after them, with its counters read.
	l, err := lab.Open(context.WithoutCancel(ctx), lab.Config{
		Profile: profile, Seed: o.Seed, Hosts: o.Hosts, CC: o.CC, Pcap: o.Pcap, Log: logFunc(hooks.Note),
	})
	if err != nil {
		return end, err
	}
	defer func() {
		if failed := l.Close(); err == nil {
			err = failed
		}
	}()
	_, err = l.Control(lab.RuntimeDir(e.getenv))
	if err != nil {
		hooks.Note(fmt.Sprintf("'ropeway lab set' cannot reach this lab: %v", err))
	}
	jobs := lab.Jobs{Commands: o.Commands, Events: events, Line: hooks.Line, Timeout: o.Timeout}
	if o.Shell {
		hooks.Note(fmt.Sprintf("a shell on host b (%s); host a is %s; its end is the end of the lab", l.Host(1).Addr(), l.Host(0).Addr()))
		jobs.Shell = l.Shell(ctx, e.getenv("SHELL"), o.Again.Stdin, o.Again.Stdout, o.Again.Stderr)
	}
	out, err := l.Run(ctx, jobs)
	end.Exit, end.Exits = out.Exit, out.Exits
	end.Status = l.Status()
	return end, err
}

// LabSet implements cli.Engine.
func (e *Engine) LabSet(ctx context.Context, number int, c lab.Change) (lab.Status, error) {
	return lab.Send(ctx, lab.RuntimeDir(e.getenv), number, c)
}

// LabClean implements cli.Engine.
func (e *Engine) LabClean(_ context.Context, dryRun bool) (list []cli.LabLeftover, err error) {
	spaces, err := netns.Clean(dryRun)
	for _, s := range spaces {
		list = append(list, cli.LabLeftover{What: "namespace", Name: s.Name, Owner: s.Owner, Processes: s.Processes})
	}
	if err != nil {
		return list, err
	}
	dir := lab.RuntimeDir(e.getenv)
	_, dead, err := lab.Running(dir)
	for _, n := range dead {
		list = append(list, cli.LabLeftover{What: "socket", Name: lab.SocketName(dir, n)})
		if !dryRun && err == nil {
			err = lab.Forget(dir, n)
		}
	}
	return list, err
}
