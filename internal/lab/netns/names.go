//go:build linux

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is where namespaces have names, as iproute2 has it.
const Dir = "/run/netns"

// The name of a namespace of ours says who made it: process namespace, process,
// when that process started (clock ticks since boot), number of the lab in it,
// host.
const nameForm = "ropeway-%d-%d-%d-%d-%s"

var nameRule = regexp.MustCompile(`^ropeway-([0-9]{1,20})-([0-9]{1,10})-([0-9]{1,20})-([0-9]{1,9})-([a-z0-9]{1,16})$`)

// owner of a name.
type owner struct {
	space uint64 // in which pid counts: containers can share Dir
	pid   int
	start uint64
}

// self is the owner of what this process makes.
func self() (owner, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return owner{}, err
	}
	start, err := startTime(os.Getpid())
	return owner{st.Ino, os.Getpid(), start}, err
}

func parseName(name string) (owner, bool) {
	m := nameRule.FindStringSubmatch(name)
	if m == nil {
		return owner{}, false
	}
	space, err1 := strconv.ParseUint(m[1], 10, 64)
	pid, err2 := strconv.Atoi(m[2])
	start, err3 := strconv.ParseUint(m[3], 10, 64)
	return owner{space, pid, start}, err1 == nil && err2 == nil && err3 == nil && pid > 0
}

// alive reports whether the process that made the name still runs. A process
// that got the same number later started later.
func (o owner) alive() bool {
	start, err := startTime(o.pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false
	}
	return err != nil || start == o.start // in doubt it does
}

// startTime of a process in clock ticks since boot: field 22 of its stat file,
// counted behind the name, which may hold anything.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStart(string(b))
}

func parseStart(stat string) (uint64, error) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc: stat is too short")
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// Names reserves names for the namespaces of hosts. Without root, or where Dir
// cannot be made, they are empty, and no error.
func Names(hosts []string) ([]string, error) {
	none := make([]string, len(hosts))
	if !isRoot() || os.MkdirAll(Dir, 0o755) != nil {
		return none, nil
	}
	unlock, err := lockDir()
	if err != nil {
		return none, nil
	}
	defer unlock()
	me, err := self()
	if err != nil {
		return none, nil
	}
	for lab := 0; lab < 1e6; lab++ {
		names := make([]string, 0, len(hosts))
		for _, h := range hosts {
			name := fmt.Sprintf(nameForm, me.space, me.pid, me.start, lab, h)
			var f *os.File
			if f, err = os.OpenFile(filepath.Join(Dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o444); err != nil {
				break
			}
			f.Close()
			names = append(names, name)
		}
		if err == nil {
			return names, nil
		}
		for _, name := range names {
			_ = os.Remove(filepath.Join(Dir, name))
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return none, fmt.Errorf("%s: %w", Dir, err)
}

// Unname gives names back that no namespace got.
func Unname(names ...string) {
	for _, name := range names {
		if _, ours := parseName(name); ours {
			_ = unname(name) // or the next Clean does
		}
	}
}

// isRoot reports whether this is root of the machine, not of a user namespace.
func isRoot() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(m))
	return os.Geteuid() == 0 && (err != nil || len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295")
}

// unname removes a name.
func unname(name string) error {
	path := filepath.Join(Dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// lockDir takes the lock that iproute2 takes to change Dir.
func lockDir() (unlock func(), err error) {
	f, err := os.Open(Dir)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(5 * time.Second); ; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if time.Now().After(end) {
			f.Close()
			return nil, fmt.Errorf("%s is locked by another program: %w", Dir, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Leftover is a namespace whose maker is dead.
type Leftover struct {
	Name      string `json:"name"`
	Owner     int    `json:"owner"`     // process that made it
	Processes []int  `json:"processes"` // that still run in it
}

// Clean finds the namespaces that dead processes of ours left behind and,
// unless dryRun, kills what runs in them and removes them. It returns those that
// it found; what could not be removed is in the error. Without root nothing can
// have been left.
func Clean(dryRun bool) ([]Leftover, error) {
	me, err := self()
	if !isRoot() || err != nil {
		return nil, nil
	}
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Leftover
	var failed error
	for _, e := range entries {
		who, ours := parseName(e.Name())
		if !ours || who.space != me.space || who.alive() {
			continue
		}
		l := Leftover{Name: e.Name(), Owner: who.pid}
		ino := inoOf(filepath.Join(Dir, e.Name()))
		if ino != "" {
			l.Processes = inside(ino)
		}
		found = append(found, l)
		if dryRun {
			continue
		}
		if ino != "" {
			err = killAll(ino)
		}
		failed = errors.Join(failed, err, unname(e.Name()))
	}
	return found, failed
}

// inoOf returns what /proc shows for the processes of a named namespace, "" if
// nothing is mounted there.
func inoOf(path string) string {
	var fsst unix.Statfs_t
	var st unix.Stat_t
	if unix.Statfs(path, &fsst) != nil || fsst.Type != unix.NSFS_MAGIC || unix.Stat(path, &st) != nil {
		return ""
	}
	return fmt.Sprintf("net:[%d]", st.Ino)
}
