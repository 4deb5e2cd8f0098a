package server

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	// ephemeralName begins the names of temporary state directories.
	ephemeralName = "ropeway-serve-"
	// deadAfter is how old one must be before it can be a dead one: its server
	// takes the lock soon after it has made it.
	deadAfter = time.Minute
)

// removeDead removes the state of ephemeral servers that were killed: what
// begins with our name, belongs to this user, has a lock file, and nobody
// holds the lock. What cannot be removed stays for the next time.
func removeDead(ctx context.Context, tmp string, now time.Time) {
	if tmp == "" {
		tmp = os.TempDir()
	}
	dir, err := fsys.OpenDir(tmp)
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	var found []string
	_ = dir.Names(func(b []byte) error {
		if strings.HasPrefix(string(b), ephemeralName) {
			found = append(found, string(b))
		}
		return nil
	})
	for _, name := range found {
		if isDead(dir, name, now) {
			_ = dir.RemoveAll(ctx, name)
		}
	}
}

func isDead(dir *fsys.Dir, name string, now time.Time) bool {
	info, err := dir.Lstat(name)
	if err != nil || info.Type != manifest.Dir || now.Sub(info.ModTime()) < deadAfter {
		return false
	}
	if uid := os.Getuid(); uid >= 0 && info.UID != uint32(uid) {
		return false
	}
	state, err := dir.Child(name)
	if err != nil {
		return false
	}
	defer func() { _ = state.Close() }()
	if _, err := state.Lstat("lock"); err != nil {
		return false
	}
	lock, err := state.Lock("lock")
	if err != nil {
		return false
	}
	return lock.Unlock() == nil
}
