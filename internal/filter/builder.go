package filter

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/ropeway/ropeway/internal/fault"
)

// Builder collects rules in the order in which its methods are called. Its
// zero value is ready. Errors of its methods are of class fault.Usage, one
// line, and leave the Builder fit for nothing but to be dropped. It is not
// safe for concurrent use.
type Builder struct {
	// Open opens a rule file that a merge rule names, with the name exactly as
	// the rule gives it. Without Open, merge rules are refused.
	Open func(name string) (io.ReadCloser, error)

	specs          []spec
	only           map[string]place
	recursive      bool
	deleteExcluded bool
	nul            bool
}

// SetRecursive tells whether a directory listed with Only brings everything
// below it. It counts for all lists, whenever it is called.
func (b *Builder) SetRecursive(on bool) { b.recursive = on }

// SetDeleteExcluded tells whether rules without a side count for the sender
// only, so that excluded entries are deleted at the receiver. It counts for all
// rules, whenever it is called.
func (b *Builder) SetDeleteExcluded(on bool) { b.deleteExcluded = on }

// SetNul tells whether lines of files that are read from now on end with a NUL
// byte instead of CR, LF or CRLF (--from0). Only has its own parameter.
func (b *Builder) SetNul(on bool) { b.nul = on }

// Include adds an include rule. As with rsync, a pattern that begins with "- "
// or "+ " is of that kind instead, and "!" drops all rules so far.
func (b *Builder) Include(pattern string) error {
	return b.rule(pattern, source{style: plain, flags: include})
}

// Exclude adds an exclude rule, with the exceptions of Include.
func (b *Builder) Exclude(pattern string) error {
	return b.rule(pattern, source{style: plain})
}

// Filter adds a rule in the full language, for example "- *.o", "-! */",
// "hide,p foo", "P keep" or "merge FILE".
func (b *Builder) Filter(rule string) error { return b.rule(rule, source{}) }

// IncludeFrom adds a rule like Include for each line of r. Empty lines and
// lines that begin with "#" or ";" are skipped; name is for messages.
func (b *Builder) IncludeFrom(r io.Reader, name string) error {
	return b.read(r, name, source{style: plain, flags: include})
}

// ExcludeFrom adds a rule like Exclude for each line of r, see IncludeFrom.
func (b *Builder) ExcludeFrom(r io.Reader, name string) error {
	return b.read(r, name, source{style: plain})
}

// Only limits the transfer to the paths that r lists one a line, or ended by
// NUL bytes, and the directories that lead to them. Paths are relative to the
// root of the transfer; a slash in front does not count. One with a slash at
// its end brings the entries of the directory that it names, any listed
// directory brings everything below it if the transfer is recursive. Rules
// count for listed paths and what they bring, not for what leads to them.
// Several lists add up.
func (b *Builder) Only(r io.Reader, name string, nul bool) error {
	if b.only == nil {
		b.only = make(map[string]place)
	}
	return readLines(r, name, nul, func(line, where string) error {
		if line[0] == '#' || line[0] == ';' {
			return nil
		}
		path, contents, err := cleanListed(line)
		if err != nil {
			return fault.New(fault.Usage, "", "%s: %v", where, err)
		}
		if _, known := b.only[path]; !known && len(b.only) == MaxRules {
			return tooMany(where)
		}
		if b.only[path] |= listed; contents {
			b.only[path] |= shallow
		}
		return nil
	})
}

// Build returns the Set of all rules so far. Its errors are of class
// fault.Usage: more rules than a Set can have.
func (b *Builder) Build() (*Set, error) {
	if len(b.specs)+len(b.only) > MaxRules {
		return nil, tooMany("filter")
	}
	s := &Set{rules: make([]rule, 0, len(b.specs))}
	for _, p := range b.specs {
		if p.flags&sides == 0 {
			p.flags |= sides
			if b.deleteExcluded {
				p.flags &^= receiver
			}
		}
		s.rules = append(s.rules, compile(p, ""))
	}
	if b.only != nil {
		paths := maps.Clone(b.only)
		for path := range paths {
			if b.recursive {
				paths[path] = listed | deep
			}
		}
		s.index(paths)
	}
	if n := len(s.AppendText(nil)); n > MaxText {
		return nil, fault.New(fault.Usage, "exclude directories as a whole, or use wildcards",
			"filter: %d bytes of rules and paths, at most %d are possible", n, MaxText)
	}
	return s, nil
}

// add appends one rule.
func (b *Builder) add(f flags, pattern string, from source) error {
	if err := checkPattern(pattern); err != nil {
		return from.refuse("", "%v", err)
	}
	if len(b.specs) == MaxRules {
		return tooMany(from.at())
	}
	b.specs = append(b.specs, newSpec(f, pattern))
	return nil
}

// checkPattern refuses patterns that no path can be compared with.
func checkPattern(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("pattern is missing")
	case len(p) > MaxPattern:
		return fmt.Errorf("pattern of %d bytes, at most %d are possible", len(p), MaxPattern)
	case slices.Contains([]byte(p), 0):
		return fmt.Errorf("pattern %.200q contains a NUL byte", p)
	}
	return nil
}

func tooMany(where string) error {
	return fault.New(fault.Usage, "exclude directories as a whole, or use wildcards",
		"%s: more than %d rules and paths", where, MaxRules)
}
