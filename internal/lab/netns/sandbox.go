//go:build linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fault"
)

// sandboxEnv marks a process that runs in the sandbox.
const sandboxEnv = "ROPEWAY_LAB_SANDBOX"

// Need reports whether this process must run itself in the sandbox to make
// namespaces: it is not root.
func Need() bool {
	if os.Getenv(sandboxEnv) != "" {
		return false
	}
	n, err := New("")
	if err != nil {
		return fault.ClassOf(err) == fault.Denied
	}
	_ = n.Close() // nothing runs in it
	return false
}

// Sandbox runs this program again with args and more environment, in namespaces of its own: user (in
// which it is root), network, mount and process. It returns the exit code.
// Whatever it starts dies with it, whatever it mounts vanishes.
//
// When ctx ends the program is asked to end, by SIGTERM if that is why, else by
// SIGINT after the time polite, as the terminal may have sent it one as well. It
// is killed after the time kill.
func Sandbox(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer, polite, kill time.Duration) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(append(os.Environ(), env...), sandboxEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	started, ended := make(chan error), make(chan error, 1)
	go thread(func() { // the thread must live as long as the program
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	})
	if err := <-started; err != nil {
		return 0, noSandbox(err)
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
		ask := syscall.SIGINT
		if fault.ClassOf(context.Cause(ctx)) == fault.Terminated {
			ask, polite = syscall.SIGTERM, 0
		}
		err = stop(cmd.Process, ended, ask, polite, kill)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		return 0, fmt.Errorf("the lab was killed: %w", err)
	}
	return 0, err
}

// stop ends p, first by asking.
func stop(p *os.Process, ended <-chan error, ask syscall.Signal, polite, kill time.Duration) error {
	for _, step := range []struct {
		after time.Duration
		send  os.Signal
	}{{polite, ask}, {kill, syscall.SIGKILL}} {
		t := time.NewTimer(step.after)
		select {
		case err := <-ended:
			t.Stop()
			return err
		case <-t.C:
			_ = p.Signal(step.send) // it may just have ended
		}
	}
	return <-ended
}

// noSandbox says why the kernel makes no user namespace, as far as it tells.
func noSandbox(err error) error {
	const text = "the lab needs root, or user namespaces, and this system lets nobody but root make those"
	hint := "run as root"
	switch {
	case is("user.max_user_namespaces", "0"):
		hint += ", or let root do: sysctl user.max_user_namespaces=10000"
	case is("kernel.unprivileged_userns_clone", "0"):
		hint += ", or let root do: sysctl kernel.unprivileged_userns_clone=1"
	case is("kernel.apparmor_restrict_unprivileged_userns", "1"):
		hint += ", or let root do: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
	}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fault.Wrap(fault.Denied, err, hint, text)
	}
	return err
}

func is(sysctl, value string) bool {
	now, err := readSysctl(sysctl)
	return err == nil && now == value
}

// Enter prepares a process that Sandbox started, and does nothing in others.
func Enter() error {
	if os.Getenv(sandboxEnv) == "" {
		return nil
	}
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if err != nil {
		return noSandbox(fmt.Errorf("/proc: %w", err))
	}
	return nil
}
