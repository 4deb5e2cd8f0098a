//go:build unix

package main

// The tests here run the real program, one process for each end, and look at
// nothing but what a user sees: exit codes, output and trees.

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	// patience bounds every process and every wait.
	patience = 60 * time.Second
	nobody   = 65534
	stateDir = manifest.StateDir
)

// program is the program under test.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // they wait, most of the time
	os.Exit(withProgram(m.Run))
}

// withProgram builds the program where every user can run it.
func withProgram(f func() int) int {
	dir, err := os.MkdirTemp("", "ropeway-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755)
	}
	program = filepath.Join(dir, "ropeway")
	if err == nil {
		var out []byte
		if out, err = exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return f()
}

// dir makes a directory that other users can enter, as those of t.TempDir
// cannot be.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "ropeway-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		openUp(d)
		if err := os.RemoveAll(d); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// openUp gives the owner access to every directory below root.
func openUp(root string) {
	_ = filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if e != nil && e.IsDir() && err == nil {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
}

// call is a command to be run.
type call struct {
	t     *testing.T
	env   []string // beside PATH; HOME is a fresh directory unless it is here
	dir   string
	stdin string
	uid   int  // 0: ours
	bare  bool // env is all there is
	limit time.Duration

	program string // another one
	files   int    // that it may have open; 0: as we may
}

// command returns how to run the program.
func (c call) command(ctx context.Context, args []string) *exec.Cmd {
	name := program
	if c.program != "" {
		name = c.program
	}
	if c.files > 0 {
		args = append([]string{"-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(c.files), name}, args...)
		name = "/bin/sh"
	}
	return exec.CommandContext(ctx, name, args...)
}

// result is how a command ended.
type result struct {
	t        *testing.T
	args     []string
	code     int
	out, err string
	took     time.Duration
}

func (r *result) String() string {
	return fmt.Sprintf("%q: exit code %d after %v\nstdout: %s\nstderr: %s", r.args, r.code, r.took.Round(time.Millisecond), r.out, r.err)
}

// run runs the program to its end.
func run(t *testing.T, args ...string) *result {
	t.Helper()
	return call{t: t}.run(args...)
}

func (c call) run(args ...string) *result {
	c.t.Helper()
	return c.start(args...).wait()
}

// wants fails the test unless the command ended with class, and returns the
// command's error line.
func (r *result) wants(class fault.Class) *result {
	r.t.Helper()
	if r.code != int(class) {
		r.t.Fatalf("want exit code %d (%v): %v", int(class), class, r)
	}
	return r
}

func (r *result) ok() *result {
	r.t.Helper()
	return r.wants(fault.OK)
}

// refuses fails the test unless the command ended with class, one line that
// contains the words, and next steps in a second one at most.
func (r *result) refuses(class fault.Class, words ...string) *result {
	r.t.Helper()
	r.wants(class)
	lines := r.complaint()
	if len(lines) == 0 {
		r.t.Fatalf("no error line: %v", r)
	}
	if len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "  → ") {
		r.t.Errorf("want one line, and one with the next step: %v", r)
	}
	for _, word := range words {
		if !strings.Contains(strings.Join(lines, "\n"), word) {
			r.t.Errorf("the error does not say %q: %v", word, r)
		}
	}
	if strings.Contains(r.err, "rw_") || strings.Contains(r.out, "rw_") {
		r.t.Errorf("a token is shown: %v", r)
	}
	return r
}

// complaint is the part of stderr from the error on.
func (r *result) complaint() []string {
	lines := strings.Split(strings.TrimSuffix(r.err, "\n"), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "ropeway: "); ok && !strings.HasPrefix(rest, "warning: ") && !strings.HasPrefix(rest, "link ") {
			return lines[i:]
		}
	}
	return nil
}

// process is a command that runs.
type process struct {
	c        call
	args     []string
	cmd      *exec.Cmd
	out, err buffer
	began    time.Time
	done     chan struct{}
	code     int
	timeout  bool
}

// start starts the program; it is killed when the test or its patience ends.
func (c call) start(args ...string) *process {
	c.t.Helper()
	limit := c.limit
	if limit == 0 {
		limit = patience
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	p := &process{c: c, args: args, cmd: c.command(ctx, args), done: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.env...)
	if c.bare {
		p.cmd.Env = append([]string{}, c.env...)
	} else if !strings.Contains(strings.Join(p.cmd.Env, "\n"), "\nHOME=") {
		home := dir(c.t)
		if c.uid != 0 {
			own(c.t, home, c.uid)
		}
		p.cmd.Env = append(p.cmd.Env, "HOME="+home, "TMPDIR="+home) // a killed process leaves things there
	}
	p.cmd.Dir = c.dir
	if c.dir == "" {
		p.cmd.Dir = "/"
	}
	p.cmd.Stdin = strings.NewReader(c.stdin)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if c.uid != 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}
	}
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		cancel()
		c.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		defer cancel()
		err := p.cmd.Wait()
		p.timeout = ctx.Err() != nil
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			p.code = exit.ExitCode()
		}
	}()
	c.t.Cleanup(func() {
		p.kill()
		if c.t.Failed() && strings.Contains(p.err.String(), "goroutine ") {
			c.t.Logf("%q wrote:\n%s", p.args, p.err.String())
		}
	})
	return p
}

// wait waits for the end of the process.
func (p *process) wait() *result {
	p.c.t.Helper()
	<-p.done
	r := &result{t: p.c.t, args: p.args, code: p.code, out: p.out.String(), err: p.err.String(), took: time.Since(p.began)}
	if p.timeout {
		p.c.t.Fatalf("did not end: %v", r)
	}
	if strings.Contains(r.err, "goroutine ") || strings.Contains(r.err, "internal error") {
		p.c.t.Errorf("crashed: %v", r)
	}
	return r
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) signal(s syscall.Signal) {
	p.c.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.c.t.Fatal(err)
	}
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// buffer is a bytes.Buffer that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eventually polls until what is the case, at most patience long.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !until(time.Now().Add(patience), is) {
		t.Fatalf("never: %s", what)
	}
}

// until polls until is returns true, or the deadline has come.
func until(deadline time.Time, is func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// server is a process that serves a directory.
type server struct {
	*process
	url string
}

// serve serves root on a free port of 127.0.0.1.
func serve(t *testing.T, root string, args ...string) *server {
	t.Helper()
	return call{t: t}.serve(root, args...)
}

func (c call) serve(root string, args ...string) *server {
	c.t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--listen") {
		args = append(args, "--listen=127.0.0.1:0")
	}
	if !strings.Contains(strings.Join(args, " "), "--state-dir") {
		args = append(args, "--ephemeral")
	}
	c.limit = 10 * time.Minute
	s := &server{process: c.start(append([]string{"serve", "--name=m", root}, args...)...)}
	eventually(c.t, "the server is up", func() bool {
		url, _, ok := strings.Cut(s.out.String(), "\n")
		s.url = url
		return ok || !s.running()
	})
	if !s.running() {
		c.t.Fatalf("the server ended: %v", s.wait())
	}
	return s
}

// at returns the URL of a place in the module.
func (s *server) at(path string) string { return strings.Replace(s.url, "/m/m/", "/m/m/"+path, 1) }

// snapshot describes a tree without what is ours in it and without what is
// never sent.
func snapshot(t *testing.T, root string, without ...fstest.Part) map[string]string {
	t.Helper()
	m := fstest.Snapshot(t, root, without...)
	for p, what := range m {
		if manifest.InState(p) || strings.HasPrefix(what, "fifo") {
			delete(m, p)
		}
	}
	return m
}

// same fails the test unless the trees are equal.
func same(t *testing.T, want, got string, without ...fstest.Part) {
	t.Helper()
	fstest.Equal(t, snapshot(t, want, without...), snapshot(t, got, without...))
}

// write makes a file, and its directories.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// own gives a tree to a user.
func own(t *testing.T, root string, uid int) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, uid, uid)
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unprivileged returns a call as a user who is not root.
func unprivileged(t *testing.T) call {
	if os.Geteuid() == 0 {
		return call{t: t, uid: nobody}
	}
	return call{t: t}
}

// needRoot skips the test where the system would not let it do its work.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func mkdir(path string) error { return os.MkdirAll(path, 0o755) }
