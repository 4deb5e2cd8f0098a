package land

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// openUp gives us all rights on those directories of ours from the root down
// to path that deny them, until dirs gives their modes back. It reports
// whether it changed any.
func (l *landing) openUp(path string) (changed bool) {
	for p, rest := "", path; ; {
		ok, err := l.openUpOne(p)
		if err != nil {
			return changed
		}
		changed = changed || ok
		if rest == "" {
			return changed
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if p != "" {
			name = p + "/" + name
		}
		p = name
	}
}

func (l *landing) openUpOne(path string) (changed bool, err error) {
	var info fsys.Info
	dir, leaf := l.a.root, ""
	if path == "" {
		info, err = dir.Stat()
	} else if dir, leaf, err = l.tree.Parent(path); err == nil {
		info, err = dir.Lstat(leaf)
	}
	if err != nil || info.Type != manifest.Dir || info.Mode&0o700 == 0o700 || info.UID != l.at.uid {
		return false, err
	}
	if err := l.noteMode(path, info.Mode); err != nil {
		return false, err
	}
	mode := info.Mode | 0o700
	if path == "" {
		err = l.d.setDirAttr(dir, fsys.Attr{Mode: &mode})
	} else {
		err = l.d.setAttr(dir, leaf, fsys.Attr{Mode: &mode})
	}
	return err == nil, err
}

// openMode is a line of the file that tells which mode a directory gets back.
type openMode struct {
	Path []byte
	Mode uint32
}

// noteMode remembers, on disk too, the mode that a directory gets in the end.
func (l *landing) noteMode(path string, mode uint32) error {
	if _, known := l.modes[path]; known {
		return nil
	}
	if l.log == nil {
		f, err := l.d.create(l.a.state, nameModes, 0o600)
		if err != nil {
			return err
		}
		l.log = f
	}
	b, err := json.Marshal(openMode{[]byte(path), mode})
	if err != nil {
		return err
	}
	if err := l.d.write(l.log, append(b, '\n')); err != nil {
		return err
	}
	l.modes[path] = mode
	return nil
}

// loadModes reads what an interrupted run has noted.
func (l *landing) loadModes() error {
	f, err := l.a.state.OpenFileRW(nameModes)
	if fsys.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	l.log = f
	parseModes(f, func(m openMode) {
		if _, known := l.modes[string(m.Path)]; !known {
			l.modes[string(m.Path)] = m.Mode
		}
	})
	_, err = f.Seek(0, io.SeekEnd)
	return err
}

// parseModes calls fn for every whole line; the last may be torn.
func parseModes(r io.Reader, fn func(openMode)) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 64<<10)
	for s.Scan() {
		var m openMode
		if json.Unmarshal(s.Bytes(), &m) != nil || m.Path == nil || m.Mode&^0o7777 != 0 || checkPath(string(m.Path)) != nil {
			continue
		}
		fn(m)
	}
}

// restoreModes gives directories that were opened up and that dirs did not
// come to their modes back, the deepest first.
func (l *landing) restoreModes() error {
	paths := make([]string, 0, len(l.modes))
	for p := range l.modes {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int { return manifest.Compare(b, a) })
	for _, p := range paths {
		mode := l.modes[p]
		if p == "" {
			if err := l.d.setDirAttr(l.a.root, fsys.Attr{Mode: &mode}); err != nil {
				return err
			}
			continue
		}
		dir, leaf, err := l.tree.Parent(p)
		var info fsys.Info
		if err == nil {
			info, err = dir.Lstat(leaf)
		}
		if err == nil && info.Type == manifest.Dir && info.Mode != mode {
			err = l.d.setAttr(dir, leaf, fsys.Attr{Mode: &mode})
		}
		if err != nil && !fsys.IsNotExist(err) {
			if err := l.fail(p, err); err != nil {
				return err
			}
		}
	}
	clear(l.modes)
	if l.log == nil {
		return nil
	}
	err := l.log.Close()
	l.log = nil
	if derr := l.d.discard(l.a.state, nameModes); err == nil {
		err = derr
	}
	return err
}

// level is a directory whose contents are being passed.
type level struct {
	e       manifest.Entry
	touched bool
}

// dirs gives directories their modes and times, the deepest first: all that
// operations name, and all whose time our work has moved.
func (l *landing) dirs(ctx context.Context) error {
	var stack []level
	leave := func(path string) error {
		for len(stack) > 0 && (path == "" || !manifest.Within(path, stack[len(stack)-1].e.Path)) {
			top := &stack[len(stack)-1]
			if err := l.dir(&top.e, top.touched); err != nil {
				if err := l.fail(top.e.Path, err); err != nil {
					return err
				}
			}
			stack = stack[:len(stack)-1]
			l.tick()
		}
		return nil
	}
	err := l.eachFinal(ctx, func(r *manifest.Record) error {
		if err := leave(r.Path); err != nil {
			return err
		}
		if r.Type == manifest.Dir {
			stack = append(stack, level{r.Entry, r.Stat.IsZero()})
		}
		return nil
	})
	if err == nil {
		err = leave("")
	}
	if err != nil {
		return err
	}
	return l.restoreModes()
}

// dir gives one directory its mode and time.
func (l *landing) dir(e *manifest.Entry, touched bool) error {
	dir, leaf := l.a.root, ""
	var info fsys.Info
	var err error
	if e.Path == "" {
		info, err = dir.Stat()
	} else if dir, leaf, err = l.tree.Parent(e.Path); err == nil {
		info, err = dir.Lstat(leaf)
	}
	if err != nil || info.Type != manifest.Dir {
		if touched {
			return err // what was in the way has been told already
		}
		return nil
	}
	keep := e.Path == "" && l.ready.OmitRootAttrs
	mode, opened := l.modes[e.Path]
	switch {
	case l.at.mask&manifest.Perm != 0 && (touched || opened) && !keep:
		mode = e.Mode
	case !opened:
		mode = info.Mode
	}
	delete(l.modes, e.Path)
	var at fsys.Attr
	if mode != info.Mode {
		at.Mode = &mode
	}
	if l.at.mask&manifest.Times != 0 && !keep && (info.Sec != e.Sec || info.Nsec != e.Nsec) {
		at.Times = &fsys.Times{Sec: e.Sec, Nsec: e.Nsec}
	}
	if empty(at) {
		return nil
	}
	if e.Path == "" {
		err = l.d.setDirAttr(dir, at)
	} else {
		err = l.d.setAttr(dir, leaf, at)
	}
	if !touched && mode == info.Mode && refused(err) {
		return nil // another's directory; only its time moved
	}
	return err
}
