package land

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
)

// recover finishes a landing that was marked and then interrupted, as its mark
// says and whatever the present options are.
func (a *Area) recover(ctx context.Context) error {
	hint := fmt.Sprintf("if this repeats, remove %s/%s to give up that landing", a.place.path, StateDir)
	r, found, err := readMark(a.state, nameReady)
	if err != nil {
		if fault.HintOf(err) != "" {
			hint = ""
		}
		return wrap(err, hint, "cannot finish an interrupted landing in %s", a.place.path)
	}
	if !found {
		return nil
	}
	l := a.newLanding(r, nil, a.at.with(r.Mask, r.NumericIDs))
	defer l.close()
	if err := l.resume(ctx); err != nil {
		if errors.Is(err, errNotExchanged) {
			a.o.Events(event.Warn{Text: "an interrupted landing was given up: " + err.Error()})
			return nil
		}
		if errors.Is(err, context.Canceled) || fault.HintOf(err) != "" && fault.ClassOf(err) != fault.Other {
			hint = ""
		}
		return wrap(err, hint, "cannot finish an interrupted landing in %s", a.place.path)
	}
	a.recovered = l.result()
	return nil
}

func (l *landing) resume(ctx context.Context) error {
	dir, name, err := l.a.stageIn(string(l.ready.TempDir))
	if err != nil {
		return err
	}
	if dir != l.a.state {
		defer func() { _ = dir.Close() }()
	}
	err = l.d.mkdir(dir, name, 0o700) // it may be gone, if all that was in it has landed
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if l.stage, err = dir.Child(name); err != nil {
		return err
	}
	defer func() { _ = l.stage.Close() }()
	info, err := l.stage.Stat()
	if err != nil {
		return err
	}
	if info.UID != l.at.uid {
		return fault.New(fault.Denied, "", "%s belongs to user %d", l.stage.Path(), info.UID)
	}
	if err := l.loadModes(); err != nil {
		return err
	}
	for _, list := range []struct {
		name string
		kind byte
	}{{nameOps, kindOps}, {nameFinal, kindIndex}} {
		_, f, t, err := openList(l.a.state, list.name, list.kind)
		if fsys.IsNotExist(err) || err != nil && fsys.Class(err) == fault.Other {
			return fault.Wrap(fault.Integrity, err, "", "the list %s is damaged", list.name)
		} else if err != nil {
			return err
		}
		_ = f.Close()
		if list.name == nameOps {
			l.count = t.Count
		}
	}
	_, err = l.run(ctx)
	return err
}
