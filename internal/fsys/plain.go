package fsys

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
)

// Plain returns err's reason in the system's words, without the call and the
// path that Go puts before it: "permission denied".
func Plain(err error) string {
	var pe *fs.PathError
	var le *os.LinkError
	var se *os.SyscallError
	for {
		switch {
		case errors.As(err, &pe):
			err = pe.Err
		case errors.As(err, &le):
			err = le.Err
		case errors.As(err, &se):
			err = se.Err
		default:
			return err.Error()
		}
	}
}

// Temp creates a file that nobody else can open and that goes with its handle,
// where the system allows it.
func (d *Dir) Temp() (*os.File, error) {
	name := ".temp-" + rand.Text()
	f, err := d.CreateFile(name, 0o600)
	if err != nil {
		return nil, err
	}
	_ = d.Remove(name) // Windows refuses; then the owner of d sweeps it
	return f, nil
}
