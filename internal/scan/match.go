package scan

import (
	"strings"

	"github.com/ropeway/ropeway/internal/manifest"
)

// matcher pairs the walk with the index.
type matcher struct {
	o       *Options
	cur     *manifest.Cursor
	matched bool   // the record that is ahead is that of the current entry
	cut     string // what is said of records within this path is settled
	cutting bool
	keep    bool // they are kept; otherwise covered by what was said before
}

func newMatcher(o *Options) *matcher {
	return &matcher{o: o, cur: manifest.NewCursor(o.Index)}
}

// match settles all records before path and returns that of path, if any,
// valid until done.
func (m *matcher) match(path string) (*manifest.Record, error) {
	for {
		r, err := m.cur.Peek()
		if r == nil || err != nil {
			return nil, err
		}
		if c := manifest.Compare(r.Path, path); c >= 0 {
			m.matched = c == 0
			if m.matched {
				return r, nil
			}
			return nil, nil
		}
		m.cur.Take()
		if err := m.settle(r); err != nil {
			return nil, err
		}
	}
}

// done ends the visit of an entry that is now of type t.
func (m *matcher) done(t manifest.Type) {
	if !m.matched {
		return
	}
	m.matched = false
	if r, err := m.cur.Peek(); err == nil && r != nil && r.Type == manifest.Dir && t != manifest.Dir {
		m.cut, m.cutting, m.keep = strings.Clone(r.Path), true, false
	}
	m.cur.Take()
}

// finish settles the rest.
func (m *matcher) finish() error {
	for {
		r, err := m.cur.Peek()
		if r == nil || err != nil {
			return err
		}
		m.cur.Take()
		if err := m.settle(r); err != nil {
			return err
		}
	}
}

// settle says what becomes of a record that the walk did not come by.
func (m *matcher) settle(r *manifest.Record) error {
	if m.cutting = m.cutting && manifest.Within(r.Path, m.cut); !m.cutting {
		m.cut, m.cutting, m.keep = strings.Clone(r.Path), true, m.excluded(r)
		if !m.keep && m.o.Gone != nil && !m.skipped(r.Path) {
			return m.o.Gone(r)
		}
	}
	if m.keep && m.o.Keep != nil {
		return m.o.Keep(r)
	}
	return nil
}

// skipped reports whether no walk looks at path.
func (m *matcher) skipped(path string) bool { return manifest.InState(path) }

// excluded reports whether the walk would not have looked at r.
func (m *matcher) excluded(r *manifest.Record) bool {
	switch {
	case m.skipped(r.Path):
		return false
	case m.o.OneFile != "" && !manifest.Within(r.Path, m.o.OneFile):
		return true
	case !m.o.Recursive && strings.Contains(r.Path, "/"):
		return true
	case r.Type == manifest.Symlink && m.o.Mask&manifest.Links == 0:
		return true
	}
	return m.o.Filter.HiddenTree(r.Path, r.Type == manifest.Dir)
}
