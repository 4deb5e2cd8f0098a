package land

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// hashed returns a name of fixed length for a path. 160 bits: whoever names
// files must not be able to make two of them share a staged one.
func hashed(path string) string {
	h := sha256.Sum256([]byte(path))
	return hex.EncodeToString(h[:20])
}

func fileName(path string) string        { return "f-" + hashed(path) }
func partName(path string) string        { return "p-" + hashed(path) }
func linkName(path string) string        { return "s-" + hashed(path) }
func objectName(id digest.Digest) string { return "o-" + id.String() }
func carriedName(path string) string     { return StateDir + "-" + hashed(path)[:32] + ".tmp" }
func tempName(dest string) string        { return "ropeway-" + hashed(dest)[:24] }
func siblingName(base string) string     { return beside(base, ".ropeway-new") }
func keptName(base, n string) string     { return beside(base, ".ropeway-kept-"+n) }

// beside returns a hidden name next to base.
func beside(base, suffix string) string {
	name := "." + base + suffix
	if len(name) > manifest.MaxName {
		name = "." + hashed(base) + suffix
	}
	return name
}

// stageIn opens the directory that holds the staging directory, and returns
// its name there. The first is a.state or a handle for the caller to close.
func (a *Area) stageIn(tempDir string) (*fsys.Dir, string, error) {
	if tempDir == "" {
		return a.state, nameStage, nil
	}
	abs, err := filepath.Abs(tempDir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, "", wrap(err, "", "cannot use %s for temporary files", tempDir)
	}
	if in, err := filepath.Rel(a.place.path, abs); err == nil && filepath.IsLocal(in) {
		return nil, "", fault.New(fault.Usage, "name a directory elsewhere", "the directory for temporary files, %s, is inside the destination", tempDir)
	}
	dir, err := fsys.OpenDir(abs)
	if err != nil {
		return nil, "", wrap(err, "", "cannot use %s for temporary files", tempDir)
	}
	return dir, tempName(a.place.path), nil
}

// openStage opens the staging directory, which is created when missing.
func (a *Area) openStage() error {
	dir, name, err := a.stageIn(a.o.TempDir)
	if err != nil {
		return err
	}
	if dir != a.state {
		a.temp = dir
	}
	stage, err := dir.Child(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = a.d.mkdir(dir, name, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			stage, err = dir.Child(name)
		}
	}
	switch {
	case errors.Is(err, fsys.ErrNotDir):
		return fault.New(fault.Denied, "remove it or move it away", "%s/%s is in the way: it is not a directory", dir.Path(), name)
	case err != nil:
		return wrap(err, "", "cannot use %s for staged files", dir.Path())
	}
	a.stage = stage
	info, err := stage.Stat()
	if err != nil {
		return wrap(err, "", "cannot use %s", stage.Path())
	}
	if dir != a.state && (info.UID != a.at.uid || info.Mode&0o077 != 0) {
		return fault.New(fault.Denied, "remove it, or name another directory", "%s exists and others can write to it", stage.Path())
	}
	if err := stage.Names(func([]byte) error { return errSome }); errors.Is(err, errSome) {
		a.leftover = true
	} else if err != nil {
		return wrap(err, "", "cannot read %s", stage.Path())
	}
	return nil
}

// errSome stops a listing at its first name.
var errSome = errors.New("not empty")

// dropStage removes what is staged. With keep, staged file content stays: it
// belongs to files that could not be put in place and need not be fetched
// again.
func (l *landing) dropStage(ctx context.Context, keep bool) error {
	dir, name, err := l.a.stageIn(string(l.ready.TempDir))
	if err != nil {
		return err
	}
	if dir != l.a.state {
		defer func() { _ = dir.Close() }()
	}
	if !keep {
		return l.a.d.removeAll(ctx, dir, name)
	}
	if l.stage == nil {
		return nil
	}
	var first error
	err = l.stage.Names(func(b []byte) error {
		if len(b) > 1 && b[0] == 'f' && b[1] == '-' {
			return nil
		}
		if err := l.a.d.discard(l.stage, string(b)); first == nil {
			first = err
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return first
}
