package job

import (
	"net/url"
	"path"
	"strings"

	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// root is the directory of the tree that is synced, within the module.
func (s *sender) root() string {
	if s.j.o.One {
		return manifest.Parent(s.Path)
	}
	return s.Path
}

// locate turns the query of a locator, which is of the source, into what the
// sender understands.
func (s *sender) locate(query string) string {
	if query == "" || s.plans() && s.index == 0 {
		return query
	}
	q, err := url.ParseQuery(query)
	if err != nil || !q.Has("p") {
		return query
	}
	ref, err := wire.ParseSpanRef(q)
	if err != nil {
		return query
	}
	return s.span(ref).Query()
}

// plans reports whether the sender has made the plan.
func (s *sender) plans() bool { return int(s.j.source.Load()) == s.index }

// span turns a reference, with the source's path, into the sender's. The tag is
// that of the plan's sender alone; without it the content is proved by its
// digests only, as it is in any case.
func (s *sender) span(ref wire.SpanRef) wire.SpanRef {
	ref.Tagged = s.plans()
	if s.index > 0 {
		home := (&sender{Mirror: Mirror{Path: s.j.o.Path}, j: s.j}).root()
		ref.Path = path.Join(s.root(), strings.TrimPrefix(strings.TrimPrefix(ref.Path, home), "/"))
	}
	return ref
}
