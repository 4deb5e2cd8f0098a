package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/link"
)

const (
	maxMessage  = 256 << 10 // bytes of a request or an answer
	maxLabs     = 1000      // of one user at a time
	controlWait = 5 * time.Second
)

// Change is what a running lab is asked to do. The zero value asks only how it
// is.
type Change struct {
	Profile *link.Profile `json:"profile,omitempty"`
	Events  []link.Event  `json:"events,omitempty"` // counted from now
}

// Status is how a running lab is.
type Status struct {
	Lab      int           `json:"lab"`
	Process  int           `json:"process"`
	Profile  string        `json:"profile"` // name
	Elapsed  float64       `json:"elapsed"` // seconds since Open
	Counters link.Counters `json:"counters"`
	Machine  Machine       `json:"machine"`
}

// control lets other processes of the user change a lab.
type control struct {
	lab      *Lab
	number   int
	listener net.Listener
	conns    sync.WaitGroup
}

// RuntimeDirEnv is the environment variable that names another RuntimeDir.
const RuntimeDirEnv = "ROPEWAY_LAB_DIR"

// RuntimeDir returns the directory of the user's control sockets.
func RuntimeDir(getenv func(string) string) string {
	switch dir := getenv(RuntimeDirEnv); {
	case dir != "":
		return dir
	case os.Getuid() == 0:
		return "/run/ropeway-lab"
	}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "ropeway-lab")
	}
	return filepath.Join(os.TempDir(), "ropeway-lab-"+strconv.Itoa(os.Getuid()))
}

// openDir makes dir and wants it to be ours alone.
func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() || fi.Mode().Perm()&0o077 != 0 || !isOurs(fi) {
		return fault.New(fault.Denied, "remove it, or name another with "+RuntimeDirEnv, "%s is not a directory of yours alone", dir)
	}
	return nil
}

// SocketName returns the path of the control socket of lab n.
func SocketName(dir string, n int) string { return filepath.Join(dir, strconv.Itoa(n)+".sock") }

// Control lets Send reach the lab until Close. It returns the lab's number, the
// lowest that is free in dir.
func (l *Lab) Control(dir string) (int, error) {
	if err := openDir(dir); err != nil {
		return 0, err
	}
	for n := 1; n <= maxLabs; n++ {
		path := SocketName(dir, n)
		if abandoned(path) {
			_ = os.Remove(path)
		}
		s, err := net.Listen("unix", path)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("control socket: %w", err)
		}
		c := &control{lab: l, number: n, listener: s}
		l.mu.Lock()
		closed := l.isClosing
		if !closed {
			l.control = c
			c.conns.Go(c.accept)
		}
		l.mu.Unlock()
		if closed {
			s.Close()
			return 0, net.ErrClosed
		}
		return n, nil
	}
	return 0, fault.New(fault.Busy, "", "%d labs are running", maxLabs)
}

// abandoned reports whether a socket is there that nobody answers.
func abandoned(path string) bool {
	c, err := net.DialTimeout("unix", path, controlWait)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func (c *control) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.conns.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(controlWait))
			c.serve(conn)
		})
	}
}

// reply is an answer to a Change: the status, or what is wrong.
type reply struct {
	Status
	Error string `json:"error,omitempty"`
}

// serve answers one request.
func (c *control) serve(conn io.ReadWriter) {
	var ask Change
	var answer reply
	if err := json.NewDecoder(io.LimitReader(conn, maxMessage)).Decode(&ask); err != nil {
		answer.Error = "the request cannot be read: " + err.Error()
	} else {
		answer.Status = c.do(ask)
	}
	_ = json.NewEncoder(conn).Encode(answer) // who asked has gone
}

func (c *control) do(ask Change) Status {
	l := c.lab
	if ask.Profile != nil {
		l.SetProfile(*ask.Profile)
		l.say("the link is now %s", ask.Profile.Name)
	}
	l.Schedule(ask.Events...)
	return l.Status()
}

// Status returns how the lab is.
func (l *Lab) Status() Status {
	return Status{
		Lab: l.number(), Process: os.Getpid(), Profile: l.Profile(), Elapsed: float64(l.Elapsed().Milliseconds()) / 1000,
		Counters: l.Counters(), Machine: l.Machine(),
	}
}

// number returns the number of the lab, 0 without Control.
func (l *Lab) number() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.control == nil {
		return 0
	}
	return l.control.number
}

// close ends the control of a lab; its socket is removed.
func (c *control) close() {
	c.listener.Close()
	c.conns.Wait()
}

// Running returns the numbers of the labs that have a socket in dir, and of
// those that died and left one.
func Running(dir string) (alive, dead []int, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), ".sock")
		n, bad := strconv.Atoi(name)
		switch {
		case !is || bad != nil || n <= 0 || SocketName(dir, n) != filepath.Join(dir, e.Name()):
		case abandoned(SocketName(dir, n)):
			dead = append(dead, n)
		default:
			alive = append(alive, n)
		}
	}
	slices.Sort(alive)
	slices.Sort(dead)
	return alive, dead, err
}

// Forget removes the socket of a dead lab.
func Forget(dir string, n int) error {
	if !abandoned(SocketName(dir, n)) {
		return nil
	}
	return os.Remove(SocketName(dir, n))
}

// Send asks lab n with a socket in dir to change; 0 is the only one there is.
func Send(ctx context.Context, dir string, n int, ask Change) (Status, error) {
	if n == 0 {
		alive, _, err := Running(dir)
		switch {
		case err != nil:
			return Status{}, err
		case len(alive) == 0:
			return Status{}, fault.New(fault.NotFound, "start one: ropeway lab run", "no lab of yours is running")
		case len(alive) > 1:
			return Status{}, fault.New(fault.Usage, fmt.Sprintf("name one: --lab=%d", alive[0]), "labs %v are running", alive)
		}
		n = alive[0]
	}
	conn, err := (&net.Dialer{Timeout: controlWait}).DialContext(ctx, "unix", SocketName(dir, n))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return Status{}, fault.New(fault.NotFound, "", "lab %d is not running", n)
	}
	if err != nil {
		return Status{}, fmt.Errorf("lab %d: %w", n, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(controlWait))
	if err := json.NewEncoder(conn).Encode(ask); err != nil {
		return Status{}, fmt.Errorf("lab %d: %w", n, err)
	}
	var answer reply
	if err := json.NewDecoder(io.LimitReader(conn, maxMessage)).Decode(&answer); err != nil {
		return Status{}, fmt.Errorf("lab %d does not answer: %w", n, err)
	}
	if answer.Error != "" {
		return Status{}, fault.New(fault.Usage, "", "lab %d: %s", n, answer.Error)
	}
	return answer.Status, nil
}
