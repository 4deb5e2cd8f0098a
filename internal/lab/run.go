package lab

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/link"
)

const (
	// settle is how long host b's command waits for something to listen on a.
	settle = 2 * time.Second
	// farewell is how long a server has to end after it was asked to.
	farewell = 5 * time.Second
)

// Jobs are commands for the hosts of a lab.
type Jobs struct {
	// Commands are run by `sh -c` on the hosts that they are listed under. That
	// of host a is a server, if there are others: it is started first, and ended
	// when the others have ended.
	Commands map[string]string
	// Shell is an interactive shell on host b, on this terminal. It counts as
	// b's command.
	Shell *exec.Cmd
	// Events count from when the first of the commands starts, but for a server.
	Events []link.Event
	// Line gets the output of the commands, line by line, from several
	// goroutines. It must not be kept.
	Line func(host, stream string, line []byte)
	// Timeout ends the commands; it must be set.
	Timeout time.Duration
}

// Outcome is how the commands ended.
type Outcome struct {
	// Exits are the exit codes by host: 128 and the signal's number for those
	// that a signal ended.
	Exits map[string]int
	// Exit is that of the host that counts: b's, or else the last one's.
	Exit int
}

// job is a command that runs.
type job struct {
	host *Host
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	exit int
	out  [2]*lines
}

// Run runs the jobs and returns when all have ended: with a Limit error at the
// timeout, and early when ctx ends. Nothing that they started on the hosts is
// left then.
func (l *Lab) Run(ctx context.Context, j Jobs) (Outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, j.Timeout,
		fault.New(fault.Limit, "give it more time: --timeout", "stopped after %s", j.Timeout))
	defer cancel()
	var server *job
	var rest []*job
	defer func() {
		for _, h := range l.hosts {
			_ = h.ns.Kill() // Close reports what cannot be killed
		}
		for _, x := range append(rest, server) {
			if x != nil {
				<-x.done
			}
		}
	}()
	for i, h := range l.hosts {
		text, has := j.Commands[h.name]
		shell := i == 1 && j.Shell != nil
		if !has && !shell {
			continue
		}
		x := &job{host: h, done: make(chan struct{})}
		if shell {
			x.cmd = j.Shell
		} else {
			x.cmd = h.Command(ctx, "sh", "-c", text)
			x.cmd.Cancel = h.ns.Kill // also what has left the group
			x.out = [2]*lines{newLines(h.name, "stdout", j.Line), newLines(h.name, "stderr", j.Line)}
			x.cmd.Stdout, x.cmd.Stderr = x.out[0], x.out[1]
		}
		if server != nil && len(rest) == 0 {
			server.settle(ctx)
		}
		serves := i == 0 && (len(j.Commands) > 1 || j.Shell != nil)
		if !serves && len(rest) == 0 {
			l.Schedule(j.Events...)
		}
		if err := x.start(); err != nil {
			return Outcome{}, err
		}
		if serves {
			server = x
		} else {
			rest = append(rest, x)
		}
	}
	if len(rest) == 0 {
		return Outcome{}, fault.New(fault.Usage, "", "the lab has nothing to do: give a command for a host")
	}
	for _, x := range rest {
		<-x.done
	}
	if server != nil {
		server.end()
	}
	o := Outcome{Exits: map[string]int{}, Exit: rest[0].exit}
	for _, x := range append(rest, server) {
		if x != nil {
			o.Exits[x.host.name] = x.exit
		}
	}
	select {
	case <-l.closed:
		if ctx.Err() == nil {
			return o, errors.Join(errors.New("the lab ended early"), l.err)
		}
	default:
	}
	return o, context.Cause(ctx)
}

// start starts the command and waits for its end in the background.
func (x *job) start() error {
	if err := x.host.Start(x.cmd); err != nil {
		close(x.done)
		return fault.Wrap(fault.NotFound, err, "", "host %s", x.host.name)
	}
	go func() {
		defer close(x.done)
		_ = x.cmd.Wait() // ProcessState tells; what is left of the output was given up
		x.exit = exitOf(x.cmd.ProcessState)
		for _, o := range x.out {
			if o != nil {
				o.end()
			}
		}
	}()
	return nil
}

func exitOf(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// settle waits until something listens on the server's host, if that is soon.
func (x *job) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ended := x.done
	for !x.host.ns.Listens() {
		select {
		case <-ended:
			if x.exit != 0 {
				return
			}
			ended = nil // it may have left a daemon behind
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// end asks the command to end, and waits for it.
func (x *job) end() {
	_ = terminate(x.cmd) // it may have ended
	t := time.NewTimer(farewell)
	defer t.Stop()
	select {
	case <-x.done:
	case <-t.C:
		_ = x.host.ns.Kill()
		<-x.done
	}
}

// lines cuts output into lines. Progress that is drawn over itself with
// carriage returns is lines too.
type lines struct {
	host, stream string
	emit         func(host, stream string, line []byte)

	mu  sync.Mutex
	buf []byte
	ret bool // the last byte was a carriage return
}

const maxLine = 64 << 10 // longer ones are cut

func newLines(host, stream string, emit func(string, string, []byte)) *lines {
	if emit == nil {
		emit = func(string, string, []byte) {}
	}
	return &lines{host: host, stream: stream, emit: emit}
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range p {
		switch {
		case c == '\n' && l.ret && len(l.buf) == 0: // \r\n ends one line
		case c == '\n' || c == '\r' && len(l.buf) > 0:
			l.flush()
		case c != '\r':
			if l.buf = append(l.buf, c); len(l.buf) == maxLine {
				l.flush()
			}
		}
		l.ret = c == '\r'
	}
	return len(p), nil
}

func (l *lines) flush() {
	l.emit(l.host, l.stream, l.buf)
	l.buf = l.buf[:0]
}

// end emits a last line without an end.
func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > 0 {
		l.flush()
	}
}

// Shell returns an interactive shell on host b for Jobs.
func (l *Lab) Shell(ctx context.Context, shell string, stdin io.Reader, stdout, stderr io.Writer) *exec.Cmd {
	if shell == "" {
		shell = "/bin/sh"
	}
	cmd := exec.CommandContext(ctx, shell)
	cmd.Env = append(os.Environ(), l.hosts[1].Environ()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{} // in our group: it takes the terminal itself
	return cmd
}
