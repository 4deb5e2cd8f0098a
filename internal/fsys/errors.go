package fsys

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/ropeway/ropeway/internal/fault"
)

// Errors that callers tell apart by errors.Is.
var (
	ErrName        = errors.New("not a name that a directory can hold")
	ErrNotRegular  = errors.New("not a regular file")
	ErrNotDir      = errors.New("not a directory")
	ErrMount       = errors.New("another file system is mounted here")
	ErrLocked      = errors.New("locked by another process")
	ErrUnsupported = errors.ErrUnsupported
)

// errNotChild is ErrNotDir below the directory that the operator named.
var errNotChild = fmt.Errorf("%w (symlinks are not followed)", ErrNotDir)

// IsNotExist reports whether err says that an object, or a directory on the
// way to it, does not exist.
func IsNotExist(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotDir)
}

// IsPermission reports whether err says that the object may not be touched,
// a read-only file system included.
func IsPermission(err error) bool {
	return errors.Is(err, fs.ErrPermission) || isReadOnly(err)
}

// Class returns the fault class of an error of this package.
func Class(err error) fault.Class {
	switch {
	case err == nil:
		return fault.OK
	case fault.ClassOf(err) != fault.Other:
		return fault.ClassOf(err)
	case errors.Is(err, ErrLocked):
		return fault.Busy
	case IsFull(err):
		return fault.Limit
	case IsPermission(err):
		return fault.Denied
	case IsNotExist(err):
		return fault.NotFound
	}
	return fault.Other
}
