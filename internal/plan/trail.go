package plan

import (
	"errors"

	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// trail takes the entries of the tree to its digest and to the lists that are
// kept of it. As long as they are as the scan's index has them they are only
// counted: digest and list exist already.
type trail struct {
	p      *Sender
	from   *Tree
	hasher *manifest.Hasher
	list   func(*manifest.Record) error
	index  func(*manifest.Record) error
	calm   int64 // entries so far, all of them as listed
	awake  bool
}

func (t *trail) init(p *Sender, from *Tree) { t.p, t.from = p, from }

// put takes an entry. calm says that it is as listed.
func (t *trail) put(r *manifest.Record, calm bool) error {
	if !t.awake {
		if calm && t.from.Listed != nil {
			t.calm++
			return nil
		}
		if err := t.wake(); err != nil {
			return err
		}
	}
	if err := t.hasher.Add(&r.Entry); err != nil {
		return err
	}
	if t.index != nil {
		if err := t.index(r); err != nil {
			return err
		}
	}
	if t.list == nil {
		return nil
	}
	r.Stat = manifest.Stat{}
	return t.list(r)
}

// aside marks what the index keeps though it is no entry of the tree.
var aside = []byte(store.Aside)

// hidden takes a record that only the index is to keep.
func (t *trail) hidden(r *manifest.Record) error {
	if !t.awake {
		if err := t.wake(); err != nil {
			return err
		}
	}
	if t.index == nil {
		return nil
	}
	r.Ext = aside
	return t.index(r)
}

// wake catches up with the entries that were only counted.
func (t *trail) wake() (err error) {
	t.awake = true
	t.hasher = manifest.NewHasher(t.from.Mask)
	if t.list, t.index, err = t.p.Lists(); err != nil || t.calm == 0 {
		return err
	}
	src, err := t.from.Again()
	if err != nil {
		return err
	}
	for ; t.calm > 0; t.calm-- {
		var r manifest.Record
		if err := src.Next(&r); err != nil {
			return errors.Join(errFatal, err)
		}
		r.Ext = nil
		if err := t.put(&r, false); err != nil {
			return err
		}
	}
	return nil
}

// finish says of which tree the plan is, and whether it is the listed one.
func (t *trail) finish(end *wire.End) (same bool, err error) {
	if !t.awake && t.from.Listed != nil && t.calm == t.from.Listed.Count {
		end.Tree, end.Entries = t.from.Listed.Tree, t.calm
		return true, nil
	}
	if !t.awake {
		if err := t.wake(); err != nil {
			return false, err
		}
	}
	end.Tree, end.Entries = t.hasher.Tree(), t.hasher.Count()
	return false, nil
}
