package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

// signalled runs a sync under virtual time and sends signals at times.
func signalled(t *testing.T, tty bool, sync func(context.Context, SyncOptions, event.Func) error, at map[time.Duration]os.Signal) (result, time.Duration) {
	t.Helper()
	var stdout, stderr lockedBuffer
	signals := make(chan os.Signal, 2)
	for after, s := range at {
		time.AfterFunc(after, func() { signals <- s })
	}
	start := time.Now()
	code := Run(context.Background(), []string{"sync", "--json", "src", "dst"}, Env{
		Stdout: &stdout, Stderr: &stderr, Signals: signals, IsTerminal: func(any) bool { return tty },
		Engine: engine{sync: sync},
	})
	return result{code, stdout.String(), stderr.String()}, time.Since(start)
}

func TestFirstSignalStopsCleanly(t *testing.T) {
	for s, want := range map[os.Signal]int{os.Interrupt: 130, syscall.SIGTERM: 143} {
		synctest.Test(t, func(t *testing.T) {
			flushed := false
			r, took := signalled(t, false, func(ctx context.Context, _ SyncOptions, f event.Func) error {
				<-ctx.Done()
				time.Sleep(2 * time.Second) // what must be flushed
				flushed = true
				return fault.Wrap(fault.Network, ctx.Err(), "", "connection lost")
			}, map[time.Duration]os.Signal{5 * time.Second: s})
			if r.code != want || !flushed || took != 7*time.Second {
				t.Errorf("%s: exit %d after %s", s, r.code, took)
			}
			if !strings.Contains(r.stderr, "what was verified is kept") || !strings.Contains(r.stdout, `"class":"`+fault.Class(want).String()) {
				t.Errorf("%s%s", r.stdout, r.stderr)
			}
		})
	}
}

func TestSignalThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := signalled(t, false, func(ctx context.Context, _ SyncOptions, f event.Func) error {
			<-ctx.Done()
			return nil // it had just finished
		}, map[time.Duration]os.Signal{time.Second: os.Interrupt})
		if r.code != 0 {
			t.Errorf("exit %d: %s", r.code, r.stderr)
		}
	})
}

func TestSecondSignalForces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r, took := signalled(t, true, func(_ context.Context, _ SyncOptions, f event.Func) error {
			<-release // does not listen
			return nil
		}, map[time.Duration]os.Signal{5 * time.Second: os.Interrupt, 6 * time.Second: syscall.SIGTERM})
		if r.code != 130 || took != 6*time.Second || !strings.Contains(r.stderr, "stopped at once") {
			t.Errorf("exit %d after %s: %s", r.code, took, r.stderr)
		}
		close(release)
		time.Sleep(time.Minute)
	})
}

func TestEngineThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r, took := signalled(t, false, func(_ context.Context, _ SyncOptions, f event.Func) error {
			<-release
			f(event.Warn{Text: "late"})
			return nil
		}, map[time.Duration]os.Signal{5 * time.Second: syscall.SIGTERM})
		if r.code != 143 || took > 5*time.Second+30*time.Second || !strings.Contains(r.stderr, "did not stop") {
			t.Errorf("exit %d after %s: %s", r.code, took, r.stderr)
		}
		close(release)
		synctest.Wait()
		if strings.Contains(r.stdout, "late") {
			t.Error("printed after the end")
		}
	})
}

// TestOutputThatNobodyReads: neither signals nor deadlines wait for a reader.
func TestOutputThatNobodyReads(t *testing.T) {
	for _, c := range []struct {
		name string
		at   map[time.Duration]os.Signal
		args string
		code int
	}{
		{"two signals", map[time.Duration]os.Signal{5 * time.Second: os.Interrupt, 6 * time.Second: os.Interrupt}, "-av", 130},
		{"one signal", map[time.Duration]os.Signal{5 * time.Second: os.Interrupt}, "-av", 130},
		{"deadline", nil, "-av --deadline=5", 8},
		{"deadline, json", nil, "-av --json --deadline=5", 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, stdout := io.Pipe()
				r2, stderr := io.Pipe()
				signals := make(chan os.Signal, 2)
				for after, s := range c.at {
					time.AfterFunc(after, func() { signals <- s })
				}
				start := time.Now()
				code := Run(context.Background(), append([]string{"sync", "src", "dst"}, strings.Fields(c.args)...), Env{
					Stdout: stdout, Stderr: stderr, Signals: signals, IsTerminal: func(any) bool { return true },
					Engine: engine{sync: func(ctx context.Context, _ SyncOptions, f event.Func) error {
						for ctx.Err() == nil {
							f(event.Item{Path: strings.Repeat("x", 1000), Change: ">f+++++++++"})
						}
						return ctx.Err()
					}},
				})
				if took := time.Since(start); code != c.code || took > 45*time.Second {
					t.Errorf("exit %d after %s", code, took)
				}
				_, _ = r.Close(), r2.Close() // lets what was left behind end
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stderr lockedBuffer
		start := time.Now()
		code := Run(context.Background(), []string{"sync", "src", "dst"}, Env{
			Stderr: &stderr, // no terminal: 24 h
			Engine: engine{sync: func(ctx context.Context, _ SyncOptions, _ event.Func) error {
				<-ctx.Done()
				return fault.Wrap(fault.Network, ctx.Err(), "", "lost")
			}},
		})
		if code != 8 || time.Since(start) != 24*time.Hour || !strings.Contains(stderr.String(), "deadline of 24h0m0s") {
			t.Errorf("exit %d after %s: %s", code, time.Since(start), stderr.String())
		}
	})
}

func TestErrors(t *testing.T) {
	fail := func(err error) Engine {
		return engine{sync: func(context.Context, SyncOptions, event.Func) error { return err }}
	}
	for _, c := range []struct {
		name string
		e    Engine
		code int
		want string
	}{
		{"plain", fail(errors.New("it\nbroke")), 1, "ropeway: it\\#012broke\n"},
		{"wrapped", fail(fault.Wrap(fault.Integrity, fault.New(fault.Network, "look there", "inner"), "", "outer")), 6, "ropeway: outer: inner\n  → look there\n"},
		{"cancelled", fail(context.Canceled), 130, "ropeway: context canceled\n"},
		{"no engine", nil, 10, "ropeway: this build cannot transfer anything: it was made without an engine\n"},
		{"failed items", engine{sync: func(_ context.Context, _ SyncOptions, f event.Func) error {
			f(event.Summary{Failed: 2})
			return nil
		}}, 3, "2 items could not be brought over"},
	} {
		if r := with(c.e, nil, "sync", "src", "dst"); r.code != c.code || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%s: exit %d, %s", c.name, r.code, r.stderr)
		}
	}
}

func TestOutputThatFails(t *testing.T) {
	summary := engine{sync: func(_ context.Context, _ SyncOptions, f event.Func) error { f(event.Summary{}); return nil }}
	code := Run(context.Background(), []string{"sync", "src", "dst"}, Env{Stdout: full{}, Engine: summary})
	if code != 1 {
		t.Errorf("standard output full: exit %d", code)
	}
	if code := Run(context.Background(), []string{"sync", "src", "dst"}, Env{Stderr: full{}, Engine: summary}); code != 0 {
		t.Errorf("talk lost: exit %d", code)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestZeroEnv(t *testing.T) {
	if code := Run(context.Background(), nil, Env{}); code != 2 {
		t.Errorf("exit %d", code)
	}
}

func TestOpen(t *testing.T) {
	o := SyncOptions{Dir: t.TempDir(), Stdin: strings.NewReader("in")}
	if err := os.WriteFile(filepath.Join(o.Dir, "list"), []byte("file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"-": "in", "list": "file", filepath.Join(o.Dir, "list"): "file"} {
		r, err := o.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); string(b) != want || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		_ = r.Close()
	}
}

func TestServeState(t *testing.T) {
	var got ServeOptions
	e := engine{serve: func(_ context.Context, o ServeOptions, _ ServeHooks) error { got = o; return nil }}
	for _, c := range []struct {
		env  string
		args []string
		want string
	}{
		{"HOME=/home/u", nil, "/home/u/.local/state/ropeway"},
		{"XDG_STATE_HOME=/x", nil, "/x/ropeway"},
		{"STATE_DIRECTORY=/var/lib/ropeway:/other", nil, "/var/lib/ropeway"},
		{"HOME=/home/u", []string{"--state-dir=s"}, "s"},
		{"HOME=/home/u", []string{"--ephemeral"}, ""},
	} {
		r := with(e, []string{c.env}, append([]string{"serve", "d"}, c.args...)...)
		if r.code != 0 || filepath.ToSlash(got.StateDir) != c.want || got.Listen != DefaultListen || got.Root != "d" {
			t.Errorf("%s %v: exit %d %s, %+v", c.env, c.args, r.code, r.stderr, got)
		}
	}
}

// TestServeNeverWaits: a log that nobody reads does not stop a server, and
// what was lost is counted.
func TestServeNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		var read lockedBuffer
		code := Run(context.Background(), []string{"serve", "--json", "--ephemeral", "d"}, Env{
			Stdout: w,
			Engine: engine{serve: func(_ context.Context, _ ServeOptions, h ServeHooks) error {
				h.Ready(Ready{Module: "d"})
				for range 20000 {
					h.Access(Access{Path: "/d/", Status: 200})
				}
				go func() { _, _ = io.Copy(&read, r) }()
				time.Sleep(time.Second)
				h.Access(Access{Path: "/last", Status: 200})
				return nil
			}},
		})
		_ = w.Close()
		synctest.Wait()
		if text := read.String(); code != 0 || !strings.Contains(text, "lines were dropped") || !strings.Contains(text, "/last") {
			t.Errorf("exit %d, %d bytes", code, len(text))
		}
	})
}
