package auth

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// checksModes says that the permission bits of a file mean something here.
const checksModes = false

// tryLock locks f for this process, or returns errLocked at once.
func tryLock(f *os.File) error {
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}
