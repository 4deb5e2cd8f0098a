//go:build linux

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fault"
)

// NS is a network namespace. Safe for concurrent use, but for Close.
type NS struct {
	name string // below Dir; "" has none
	file *os.File
	jobs chan func() // run on a thread in the namespace, which lives as long as NS
	stop chan struct{}
	gone chan struct{} // closed when the thread has ended
	ino  string        // as /proc shows it, "net:[4026532008]"
}

// New makes a namespace with its loopback interface up. With a name (see
// NewName) it stays in Dir until Close, where `ip netns exec NAME` finds it.
func New(name string) (*NS, error) {
	n := &NS{name: name, jobs: make(chan func()), stop: make(chan struct{}), gone: make(chan struct{})}
	made := make(chan error)
	go thread(func() {
		defer close(n.gone)
		err := n.make()
		made <- err
		if err != nil {
			return
		}
		for {
			select {
			case f := <-n.jobs:
				f()
			case <-n.stop:
				return
			}
		}
	})
	if err := <-made; err != nil {
		return nil, err
	}
	return n, nil
}

// thread runs f on a thread of its own that ends with f, and never on the main
// thread, whose namespace is taken for that of the whole process.
func thread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f() // the thread is not unlocked, so that it ends
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

// make runs on the thread that is to be in the namespace.
func (n *NS) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return refused(err)
	}
	self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	var err error
	if n.file, err = os.Open(self); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if n.ino, err = os.Readlink(self); err == nil {
		err = n.loopback()
	}
	if err == nil && n.name != "" {
		err = unix.Mount(self, filepath.Join(Dir, n.name), "", unix.MS_BIND, "")
	}
	if err != nil {
		n.file.Close()
		return fmt.Errorf("network namespace: %w", err)
	}
	return nil
}

func (n *NS) loopback() error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	r, err := openRtnl()
	if err != nil {
		return err
	}
	defer r.close()
	return r.up(lo.Index, 0, 0)
}

// refused says why the kernel makes no namespace.
func refused(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fault.New(fault.Denied, "run as root", "the lab needs network namespaces, which need root (CAP_SYS_ADMIN)")
	case errors.Is(err, unix.ENOSPC):
		return fault.New(fault.Limit, "raise sysctl user.max_net_namespaces", "too many network namespaces on this machine")
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fault.New(fault.Incompatible, "", "this kernel has no network namespaces")
	}
	return fmt.Errorf("network namespace: %w", err)
}

// Name returns the name that New was given.
func (n *NS) Name() string { return n.name }

// Do runs f on a thread in the namespace and returns its error. One f runs at a
// time, so it must not block for long.
func (n *NS) Do(f func() error) error {
	done := make(chan error, 1)
	select {
	case n.jobs <- func() { done <- f() }:
		return <-done
	case <-n.gone:
		return net.ErrClosed
	}
}

// Run is like Do, on a thread of its own: f may block.
func (n *NS) Run(f func() error) error {
	done := make(chan error, 1)
	go thread(func() {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("network namespace: %w", err)
			return
		}
		done <- f()
	})
	return <-done
}

// Start starts cmd in the namespace, as the leader of a new process group
// unless cmd says otherwise. The command is killed when this process dies.
func (n *NS) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // or the end of the thread that starts it
	return n.Do(cmd.Start)
}

// Sysctl sets a variable such as "net.ipv4.tcp_no_metrics_save".
func (n *NS) Sysctl(name, value string) error {
	return n.Do(func() error { return os.WriteFile(sysctlPath(name), []byte(value), 0) })
}

func sysctlPath(name string) string { return "/proc/sys/" + strings.ReplaceAll(name, ".", "/") }

func readSysctl(name string) (string, error) {
	b, err := os.ReadFile(sysctlPath(name))
	return strings.TrimSpace(string(b)), err
}

// Route sends packets for dst through the interface; cc as in CongestionControl.
func (n *NS) Route(iface string, dst netip.Prefix, cc string) error {
	return n.Do(func() error {
		i, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		r, err := openRtnl()
		if err != nil {
			return err
		}
		defer r.close()
		return r.route(i.Index, dst, cc)
	})
}

// Kill kills every process in the namespace.
func (n *NS) Kill() error { return killAll(n.ino) }

// Close kills every process in the namespace and removes it.
func (n *NS) Close() error {
	err := n.Kill()
	close(n.stop)
	<-n.gone
	n.file.Close()
	if n.name != "" {
		err = errors.Join(err, unname(n.name))
	}
	return err
}
