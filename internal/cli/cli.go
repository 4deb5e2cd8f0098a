// Package cli is the command line: it turns arguments and environment into
// options, hands them to the engine, and prints what the engine reports, for
// a terminal, a pipe or a program. It knows nothing of how a sync works.
//
// Run is the only door, for main and for tests; nothing here ends the process
// or reads its globals, except OS, which collects them.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/ropeway/ropeway/internal/fault"
)

const (
	grace    = 25 * time.Second // for the engine to stop after it was told to
	patience = 5 * time.Second  // for the output to be read, after that
)

// Env is everything that a command sees of the process it runs in. The zero
// value of each field is usable: no input, no output, no environment.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer // results
	Stderr io.Writer // talk
	Getenv func(string) string
	Dir    string // working directory, absolute
	GOOS   string // decides where state lives and whether colour is used

	// IsTerminal reports whether a person watches Stdin, Stdout or Stderr,
	// whichever is passed.
	IsTerminal func(stream any) bool
	// Width returns the present width of the terminal in columns; 0 is unknown.
	Width func() int
	// Signals delivers interrupts: the first asks the command to stop, the
	// second makes Run return at once.
	Signals <-chan os.Signal
	// Location is the time zone of clock times in messages; nil is local time.
	Location *time.Location

	Engine Engine
}

// OS returns the environment of this process. From then on interrupts no
// longer end the process but are delivered to Run.
func OS(engine Engine) Env {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	dir, err := os.Getwd()
	if err != nil {
		dir = "" // names stay relative; the engine reports what fails
	}
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Dir: dir, GOOS: runtime.GOOS,
		IsTerminal: func(stream any) bool {
			f, ok := stream.(*os.File)
			return ok && term.IsTerminal(int(f.Fd()))
		},
		Width: func() int {
			w, _, err := term.GetSize(int(os.Stderr.Fd()))
			if err != nil {
				return 0
			}
			return w
		},
		Signals: signals,
		Engine:  engine,
	}
}

// app is one run of the command line.
type app struct {
	env         Env
	args        []string // as given to Run
	stdout      *gate
	stderr      *gate
	stdoutTTY   bool
	stderrTTY   bool
	signal      atomic.Int64 // fault.Class of the first signal, 0 before
	note        atomic.Pointer[func(string)]
	json        bool        // the exit is reported as a JSON line too
	exitPrinted bool        // it is not, after all
	ran         bool        // the arguments were right and the verb began
	stopped     atomic.Bool // the command was told to stop: readers of the output are not waited for
}

// Run executes the command that args (without the program's name) ask for and
// returns the exit code of the process. It returns when the command has ended,
// at a second signal, or 30 s after it was told to stop; only in the last two
// cases may goroutines of the command still be running.
func Run(ctx context.Context, args []string, env Env) int {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a := newApp(env)

	done := make(chan int, 1)
	go func() { done <- a.run(ctx, args) }()
	var late <-chan time.Time
	for {
		select {
		case code := <-done:
			return code
		case s := <-env.Signals:
			class := fault.Interrupted
			if s == syscall.SIGTERM {
				class = fault.Terminated
			}
			if !a.signal.CompareAndSwap(0, int64(class)) {
				return a.forced()
			}
			if say := a.note.Load(); say != nil {
				(*say)("stopping cleanly; once more to stop at once")
			}
			stop(fault.New(class, "", "%s", class))
			timer := time.NewTimer(grace + patience)
			defer timer.Stop()
			late = timer.C
		case <-late:
			return a.forced()
		}
	}
}

func newApp(env Env) *app {
	a := &app{env: env}
	if isTerminal := env.IsTerminal; isTerminal != nil {
		a.stdoutTTY, a.stderrTTY = isTerminal(env.Stdout), isTerminal(env.Stderr)
	}
	a.stdout, a.stderr = newGate(env.Stdout), newGate(env.Stderr)
	if a.env.Getenv == nil {
		a.env.Getenv = func(string) string { return "" }
	}
	if a.env.Stdin == nil {
		a.env.Stdin = eof{}
	}
	if a.env.Width == nil {
		a.env.Width = func() int { return 0 }
	}
	if a.env.Location == nil {
		a.env.Location = time.Local
	}
	return a
}

// run executes the command and reports its end; it never panics.
func (a *app) run(ctx context.Context, args []string) (code int) {
	defer func() {
		if v := recover(); v != nil {
			code = a.finish(&panicError{value: v, stack: debug.Stack()})
		}
	}()
	a.args = args
	a.json = wantsJSON(args, a.env.Getenv)
	root := a.root()
	root.SetArgs(nonNil(args))
	return a.finish(root.ExecuteContext(ctx))
}

// nonNil keeps cobra from reading the process's own arguments.
func nonNil(args []string) []string {
	if args == nil {
		return []string{}
	}
	return args
}

// forced is the end after a second signal: whatever still runs is left behind.
func (a *app) forced() int {
	class := fault.Class(a.signal.Load())
	text := "ropeway: stopped at once\n"
	if a.stderrTTY {
		text = "\n" + text // a status line may be standing there
	}
	a.stdout.shut("")
	a.stderr.shut(text)
	return int(class)
}

// call runs one call into the engine. A panic becomes an error; an engine that
// does not return within the grace period after ctx ended is left behind.
func (a *app) call(ctx context.Context, f func(context.Context) error) error {
	a.ran = true
	if a.env.Engine == nil {
		return fault.New(fault.Incompatible, "", "this build cannot transfer anything: it was made without an engine")
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- &panicError{value: v, stack: debug.Stack()}
			}
		}()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fault.Wrap(fault.ClassOf(context.Cause(ctx)), context.Cause(ctx), "",
			"the transfer did not stop within %s of being told to", grace)
	}
}

// verdict is the error that a command ends with, given what the engine
// returned: the reason for which it was stopped outranks what the stop caused.
func (a *app) verdict(ctx context.Context, err error) error {
	if err == nil || isPanic(err) {
		return err
	}
	if class := fault.Class(a.signal.Load()); class != fault.OK {
		return interrupted(class, err)
	}
	var why *fault.Error
	if errors.As(context.Cause(ctx), &why) && ctx.Err() != nil {
		return why
	}
	return err
}

func interrupted(class fault.Class, err error) error {
	bare := err.Error() == class.String() // the cause of the stop, as Run gave it
	if fault.ClassOf(err) == class && !bare {
		return err
	}
	const hint = "run the same command again to continue: what was verified is kept"
	if bare || errors.Is(err, context.Canceled) || fault.ClassOf(err) == fault.Interrupted {
		return fault.New(class, hint, "%s", class)
	}
	return fault.Wrap(class, err, hint, "%s", class)
}

// panicError is a defect of ours that reached the top.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("internal error: %v", p.value) }

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
