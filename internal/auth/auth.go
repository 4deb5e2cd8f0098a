// Package auth says who is who: the key and pin by which a server is known,
// the tokens by which a client is, and the URL that carries both.
//
// Secrets appear in no error, no log and no fmt output of these types.
package auth

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// writeFile replaces a file whole: a reader sees the old or the new content,
// also after a crash.
func writeFile(path string, data []byte, perm os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails once renamed
	_, err = f.Write(data)
	if err == nil && perm != 0o600 {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	if d, e := os.Open(filepath.Dir(path)); e == nil {
		_ = d.Sync() // not every system can; the rename stands
		d.Close()
	}
	return nil
}

// readFile reads a small file; more than limit bytes are an error.
func readFile(path string, limit int64) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > limit || !fi.Mode().IsRegular() {
		return nil, fault.New(fault.Usage, "", "%s is not a file of up to %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// lockWait is how long a process waits for another one that changes the same
// directory; each holds it for milliseconds.
const lockWait = 5 * time.Second

// withLock runs f while this process alone holds the lock of dir, which is
// created with mode 0700 when missing. It returns a Busy fault when the lock
// is not free within lockWait.
func withLock(dir string, f func() error) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l, err := os.OpenFile(filepath.Join(dir, ".auth-lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer l.Close()                                                            // unlocks
	for end := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // ends within lockWait
		err := tryLock(l)
		if err == nil {
			return f()
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		if time.Now().After(end) {
			return fault.New(fault.Busy, "try again", "%s is locked by another process", dir)
		}
	}
}

var errLocked = errors.New("locked")
