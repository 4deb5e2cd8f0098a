package fsys

import (
	"errors"
	"io"
	"os"
)

// maxLockText bounds the text of a lock's holder, in bytes.
const maxLockText = 4096

// LockedError says that another process holds a lock.
type LockedError struct {
	Path string // of the lock, for messages
	Text string // what the holder wrote with SetText; may be empty
}

func (e *LockedError) Error() string { return e.Path + ": " + ErrLocked.Error() }

func (e *LockedError) Unwrap() error { return ErrLocked }

// Lock is an exclusive lock that ends with Unlock or with the process. The
// file stays. Not safe for concurrent use.
type Lock struct{ f *os.File }

// Lock takes the lock that the file called name stands for, without waiting,
// creating the file with mode 0600. It fails with a *LockedError, which is
// ErrLocked, while another process, or another Lock of this one, holds it.
func (d *Dir) Lock(name string) (*Lock, error) {
	for range 100 { // as often as others may replace the file under us
		f, err := d.lockFile(name)
		if err != nil {
			return nil, err
		}
		switch err := tryLock(f); {
		case errors.Is(err, ErrLocked):
			text, _ := readText(f)
			_ = f.Close()
			return nil, &LockedError{Path: f.Name(), Text: text}
		case err != nil:
			_ = f.Close()
			return nil, d.fail("lock", name, err)
		}
		if d.names(name, f) {
			return &Lock{f}, nil
		}
		_ = f.Close()
	}
	return nil, &LockedError{Path: d.path + "/" + name}
}

// SetText replaces what others read about the holder, up to 4096 bytes.
func (l *Lock) SetText(s string) error {
	s = s[:min(len(s), maxLockText)]
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(s), 0)
	return err
}

// ReadText returns the text: before SetText, what the previous holder left.
func (l *Lock) ReadText() (string, error) { return readText(l.f) }

// Unlock ends the lock.
func (l *Lock) Unlock() error {
	err := unlock(l.f) // a child being started may still hold a copy of the handle
	return errors.Join(err, l.f.Close())
}

func readText(f *os.File) (string, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxLockText))
	return string(b), err
}
