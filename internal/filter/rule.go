package filter

import "strings"

// flags are the properties of a rule.
type flags uint8

const (
	include    flags = 1 << iota // otherwise exclude
	negate                       // matches what the pattern does not match
	absolute                     // the pattern starts above the transfer's root
	sender                       // counts on the sending side
	receiver                     // counts on the receiving side
	perishable                   // does not count in directories being deleted
	dirOnly                      // matches directories only

	sides = sender | receiver
)

// spec is a rule as written.
type spec struct {
	flags   flags
	pattern string // without the final slash that dirOnly stands for
}

// newSpec returns the rule for a pattern as written.
func newSpec(f flags, pattern string) spec {
	if n := len(pattern) - 1; n > 0 && pattern[n] == '/' {
		return spec{f | dirOnly, pattern[:n]}
	}
	return spec{f, pattern}
}

// scope is the part of a path that a pattern must match.
type scope uint8

const (
	base scope = iota // the last component
	tail              // as many components as the pattern has
	full              // everything
)

// rule is a compiled spec.
type rule struct {
	spec
	scope    scope
	elems    int    // components that a pattern of scope tail has
	located  bool   // the path is taken with the transfer's root in front
	globs    []glob // any of them matches
	dirGlobs []glob // or any of these, for a directory
}

// compile prepares a rule for matching; root is that of Set.At.
//
// Where rsync lends a path a slash in front ("**/x" also matches "x") or at the
// end ("x/***" also matches the directory x), the rule gets the pattern a
// second time, without the part that this slash would match.
func compile(s spec, root string) rule {
	text, anchored := strings.CutPrefix(s.pattern, "/")
	slashes := strings.Count(s.pattern, "/")
	wild := strings.ContainsAny(s.pattern, "*?[")
	deep := strings.Contains(s.pattern, "**")
	r := rule{spec: s, scope: full}
	switch {
	case slashes == 0 && !deep:
		r.scope = base
	case !anchored && !deep:
		r.scope, r.elems = tail, slashes+1
	}
	r.located = s.flags&absolute != 0 && root != "" && r.scope != base
	if !wild {
		r.globs = []glob{{prefix: text}}
		return r
	}
	ops, ok := parseOps(text)
	if !ok {
		return r // without globs, it matches nothing
	}
	variants := [][]op{ops}
	if deep && !anchored {
		if floating := !strings.HasPrefix(text, "**"); floating {
			ops = append([]op{{kind: anything}, {kind: literal, c: '/'}}, ops...)
			variants = [][]op{ops, ops[2:]}
		} else if !r.located && len(ops) > 1 && ops[1].is('/') {
			variants = append(variants, ops[2:])
		}
	}
	for _, v := range variants {
		r.globs = append(r.globs, newGlob(v))
		if n := len(v); strings.HasSuffix(text, "***") && n > 1 && v[n-2].is('/') {
			r.dirGlobs = append(r.dirGlobs, newGlob(v[:n-2]))
		}
	}
	return r
}

// query is an entry to be judged.
type query struct {
	path, base string
	dir        bool
	absolute   string // path with the transfer's root in front, once needed
}

// matches reports whether the rule applies to the entry.
func (r *rule) matches(q *query, root string) bool {
	return r.patternMatches(q, root) != (r.flags&negate != 0)
}

func (r *rule) patternMatches(q *query, root string) bool {
	if r.flags&dirOnly != 0 && !q.dir {
		return false
	}
	text := q.base
	if r.scope != base {
		text = q.path
		if r.located {
			if q.absolute == "" {
				q.absolute = root + "/" + q.path
			}
			text = q.absolute
		}
		if r.scope == tail {
			var ok bool
			if text, ok = lastComponents(text, r.elems); !ok {
				return false
			}
		}
	}
	for i := range r.globs {
		if r.globs[i].match(text) {
			return true
		}
	}
	if q.dir {
		for i := range r.dirGlobs {
			if r.dirGlobs[i].match(text) {
				return true
			}
		}
	}
	return false
}

// lastComponents returns the last n > 0 components of path, if it has as many.
func lastComponents(path string, n int) (string, bool) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			if n--; n == 0 {
				return path[i+1:], true
			}
		}
	}
	return path, n == 1
}
