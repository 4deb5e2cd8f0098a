package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/store"
)

// state is what a server keeps: all of it below one directory, which is a
// temporary one when the server is ephemeral.
type state struct {
	path   string
	store  *store.Store
	temp   *fsys.Dir // for files without a name
	id     *auth.Identity
	tokens *auth.Tokens
	token  string // the one that is printed
	closes []func()
}

// openState opens the state; hosts are for the certificate.
func openState(cfg *Config, hosts []string, warn func(string, ...any)) (*state, error) {
	st := &state{}
	if err := st.open(cfg, hosts, warn); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

func (st *state) close() {
	for i := len(st.closes) - 1; i >= 0; i-- {
		st.closes[i]()
	}
	st.closes = nil
}

func (st *state) open(cfg *Config, hosts []string, warn func(string, ...any)) error {
	if err := st.place(cfg); err != nil {
		return err
	}
	dir, err := fsys.OpenDir(st.path)
	if err != nil {
		return fault.Wrap(fsys.Class(err), err, "", "cannot open the state directory")
	}
	st.closes = append(st.closes, func() { _ = dir.Close() })
	if info, err := dir.Stat(); err == nil && checksModes && info.Mode&0o022 != 0 {
		warn("others can write to the state directory %s, and so let themselves in: chmod 700 it", st.path)
	}
	if st.store, err = store.Open(dir, cfg.Store); err != nil { // and lock
		return err
	}
	st.closes = append(st.closes, func() { _ = st.store.Close() })
	if st.temp, err = tempDir(dir); err != nil {
		return fault.Wrap(fsys.Class(err), err, "", "cannot open the state directory")
	}
	st.closes = append(st.closes, func() { _ = st.temp.Close() })
	if cfg.Ephemeral {
		st.id, err = auth.Ephemeral(hosts...)
	} else {
		st.id, err = auth.LoadOrCreate(st.path, hosts...)
	}
	if err != nil {
		return err
	}
	if st.tokens, err = auth.OpenTokens(st.path); err != nil {
		return err
	}
	keep := dir
	if cfg.Ephemeral {
		keep = nil
	}
	st.token, err = printedToken(keep, st.tokens, cfg.Modules, warn)
	return err
}

// place finds or makes the directory.
//
//nolint:forbidigo // the path is the operator's
func (st *state) place(cfg *Config) error {
	if cfg.Ephemeral {
		tmp := cfg.Getenv("TMPDIR") // "" is the system's
		removeDead(context.Background(), tmp, time.Now())
		path, err := os.MkdirTemp(tmp, ephemeralName)
		if err != nil {
			return fault.Wrap(fsys.Class(err), err, "set TMPDIR to a directory that can be written", "no place for temporary files")
		}
		st.path = path
		st.closes = append(st.closes, func() { _ = os.RemoveAll(path) })
		return nil
	}
	st.path = cfg.StateDir
	if st.path == "" {
		paths, err := config.Locate(cfg.Getenv)
		if err != nil {
			return err
		}
		st.path = paths.State
	}
	if !filepath.IsAbs(st.path) {
		return fault.New(fault.Usage, "give an absolute path", "the state directory %q is not an absolute path", st.path)
	}
	if err := os.MkdirAll(st.path, 0o700); err != nil {
		return fault.Wrap(fsys.Class(err), err, "give another state directory, or make the server ephemeral", "cannot make the state directory")
	}
	return nil
}

const tempName = "temp"

// tempDir opens the directory of unfinished plans, and removes what systems
// that cannot remove open files left in it.
func tempDir(dir *fsys.Dir) (*fsys.Dir, error) {
	if err := dir.Mkdir(tempName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	temp, err := dir.Child(tempName)
	if err != nil {
		return nil, err
	}
	var left []string
	if err := temp.Names(func(b []byte) error {
		if strings.HasPrefix(string(b), ".temp-") {
			left = append(left, string(b))
		}
		return nil
	}); err != nil {
		_ = temp.Close()
		return nil, err
	}
	for _, name := range left {
		_ = temp.Remove(name) // at worst it is tried again
	}
	return temp, nil
}

// contains reports whether path is root or lies below it, by whatever names.
//
//nolint:forbidigo // both paths are the operator's, and links are to be followed
func contains(root *fsys.Dir, path string) (bool, error) {
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, fault.Wrap(fsys.Class(err), err, "", "cannot look at the state directory")
	}
	top, err := os.Stat(root.Path())
	if err != nil {
		return false, fault.Wrap(fsys.Class(err), err, "", "cannot look at a module")
	}
	for {
		if fi, err := os.Stat(at); err == nil && os.SameFile(fi, top) {
			return true, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return false, nil
		}
		at = up
	}
}
