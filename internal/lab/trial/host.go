// Package trial measures tools that move files, ours among them, on the links
// of package lab: whether they finish, how fast, with how many bytes, and what
// an event in the middle does to them. The tools are the real programs of this
// machine; one that is missing is named, never imitated.
//
// Every run is bounded in time, and ends with all the processes that it began.
package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// Host is one end of a link: a host of package lab.
type Host interface {
	Name() string
	Addr() netip.Addr
	// Command is exec.CommandContext for Start.
	Command(ctx context.Context, name string, arg ...string) *exec.Cmd
	// Start starts the command on the host.
	Start(cmd *exec.Cmd) error
}

// process is a program that runs on a host, in a process group of its own,
// writing to a file.
type process struct {
	host Host
	argv []string
	cmd  *exec.Cmd
	log  string // its file
	from time.Time
	done chan struct{} // closed when it has ended
	err  error         // of Wait; valid after done
}

// command is what to run and where.
type command struct {
	argv []string
	dir  string   // working directory
	env  []string // beside the usual ones
}

// start runs a command on a host. Its output, both streams, goes to log.
func start(h Host, c command, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Other, err, "", "the log of %s", c.argv[0])
	}
	defer f.Close() // the process has its own
	// It outlives no run: kill ends it, whatever becomes of a context.
	cmd := h.Command(context.Background(), c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(environment(filepath.Dir(log)), c.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, f, f
	ownGroup(cmd)
	p := &process{host: h, argv: c.argv, cmd: cmd, log: log, done: make(chan struct{}), from: time.Now()}
	if err := h.Start(cmd); err != nil {
		return nil, fault.Wrap(fault.Other, err, "", "%s cannot be started on host %s", c.argv[0], h.Name())
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// environment is what tools see: nothing of the user's settings, so that runs
// can be compared.
func environment(home string) []string {
	env := []string{"LC_ALL=C", "HOME=" + home, "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	if tmp := os.Getenv("TMPDIR"); tmp != "" {
		env = append(env, "TMPDIR="+tmp)
	}
	return env
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// patience is how long a killed process may take to vanish.
const patience = 5 * time.Second

// kill ends the whole group at once and waits for it.
func (p *process) kill() {
	if p == nil {
		return
	}
	killGroup(p.cmd)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C: // it hangs in the kernel: the lab's end takes it along
	}
}

// exit is the exit code; -1 if it was killed.
func (p *process) exit() int {
	var failed *exec.ExitError
	switch {
	case p.err == nil:
		return 0
	case errors.As(p.err, &failed):
		return failed.ExitCode()
	}
	return -1
}

// ready waits until the check passes, the process ends, or some seconds have gone.
func (p *process) ready(ctx context.Context, check func() bool) error {
	const bound = 15 * time.Second
	timer := time.NewTimer(bound)
	defer timer.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if check() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.done:
			return fault.New(fault.Other, "", "%s on host %s ended at once: %s", p.argv[0], p.host.Name(), orNone(lastLine(p.text())))
		case <-timer.C:
			return fault.New(fault.Other, "", "%s on host %s is not ready after %s: %s", p.argv[0], p.host.Name(), bound, orNone(lastLine(p.text())))
		case <-tick.C:
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "it said nothing"
	}
	return s
}

// maxText is how much of a log is read, from its end, in bytes.
const maxText = 64 << 10

// text is what the process has written, the last 64 KiB of it.
func (p *process) text() string { return tail(p.log) }

// tail is the end of a file, "" if it cannot be read.
func tail(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxText {
		if _, err := f.Seek(-maxText, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil {
		return ""
	}
	return string(b)
}

// lines are the lines of a log that a person reads: of those that a program
// draws over each other, the last.
func lines(text string) []string {
	var list []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, "\r ")
		if i := strings.LastIndexByte(line, '\r'); i >= 0 {
			line = line[i+1:]
		}
		if strings.TrimSpace(line) != "" {
			list = append(list, line)
		}
	}
	return list
}

// lastLine is the last line about an error, or else the last.
func lastLine(text string) string {
	list := lines(text)
	for i := len(list) - 1; i >= 0 && i >= len(list)-12; i-- {
		low := strings.ToLower(list[i])
		for _, word := range []string{"error", "timed out", "timeout", "reset", "failed", "refused", "ropeway: "} {
			if strings.Contains(low, word) {
				return clip(list[i])
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	return clip(list[len(list)-1])
}

// clip shortens a line for a table.
func clip(s string) string {
	const most = 240
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// output runs a short command of this machine and returns the first line of
// what it prints.
func output(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environment(os.TempDir())
	cmd.WaitDelay = time.Second
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	first, _, _ := strings.Cut(strings.TrimSpace(b.String()), "\n")
	if err != nil && first == "" {
		return "", fmt.Errorf("%s: %w", argv[0], err)
	}
	return strings.Join(strings.Fields(first), " "), nil
}
