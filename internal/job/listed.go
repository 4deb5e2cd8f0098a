package job

import (
	"maps"
	"slices"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/manifest"
)

// unlisted returns what a list of paths asked for and the tree does not have,
// sorted. What a rule hides was not asked for.
func unlisted(set *filter.Set, missing map[string]struct{}) []string {
	for p := range missing {
		if p == "" || set.Hidden(p, true) && set.Hidden(p, false) {
			delete(missing, p)
		}
	}
	return slices.Sorted(maps.Keys(missing))
}

// asked refuses what no sender that keeps to the request has in its plan.
func (a *applier) asked(rec *manifest.Record) error {
	o := &a.j.o
	var what string
	switch p := rec.Path; {
	case manifest.InState(p):
		what = "which is ours"
	case rec.Op != manifest.Put: // what this side told of from earlier is gone from the tree; no more
		return nil
	case p != "" && a.j.outside(p):
		what = "which is beside what was asked for"
	case !o.Recursive && strings.Contains(p, "/"):
		what = "which is deeper than was asked for"
	case rec.Type == manifest.Symlink && o.Mask&manifest.Links == 0, o.Filter.Hidden(p, rec.Type == manifest.Dir):
		what = "which was not to be sent"
	default:
		return nil
	}
	return fault.New(fault.Integrity, "", "the plan names %q, %s", rec.Path, what)
}
