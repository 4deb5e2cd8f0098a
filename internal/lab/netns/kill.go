//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// inside returns the processes in a network namespace, but this one.
func inside(ino string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && isInside(pid, ino) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isInside is false for processes that ended, those not yet waited for, too.
func isInside(pid int, ino string) bool {
	at, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err == nil && at == ino
}

// killAll kills what runs in a network namespace, until nothing does.
func killAll(ino string) error {
	for end := time.Now().Add(5 * time.Second); ; {
		pids := inside(ino)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v in the lab cannot be killed", pids)
		}
		for _, pid := range pids {
			if err := killIn(pid, ino); err != nil {
				return err
			}
		}
		<-time.After(2 * time.Millisecond)
	}
}

// killIn kills one process. It is held by a descriptor meanwhile, so that its
// number cannot become another's.
func killIn(pid int, ino string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill process %d in the lab: %w", pid, err)
	}
	defer unix.Close(fd)
	if !isInside(pid, ino) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d in the lab: %w", pid, err)
	}
	return nil
}
