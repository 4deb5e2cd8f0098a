// Package filter decides which entries of a tree take part in a transfer, in
// rsync's filter language: ordered include and exclude rules of which the
// first that matches decides, rules for the sending side (hide, show) and the
// receiving side (protect, risk), and lists of files to take (--files-from).
//
// A Builder collects rules from options and files; Build compiles them to a
// Set, which is immutable and safe for concurrent use. A Set travels between
// peers as the canonical text of AppendText and Parse.
//
// Left out of rsync's language are rule files inside the tree (dir-merge) and
// rules for names of extended attributes; both are refused.
package filter

import "strings"

// Limits on a Set, whoever made it.
const (
	MaxText    = 1 << 20 // bytes of the canonical text
	MaxRules   = 100_000 // rules and listed paths together
	MaxPattern = 4096    // bytes of a pattern or a listed path
)

// Set is an ordered, immutable list of rules, with or without a list of the
// only paths to take. A nil *Set includes everything and protects nothing.
type Set struct {
	rules []rule
	only  map[string]place // nil: every path
	root  string           // what the patterns of absolute rules are relative to; see At
}

// Empty reports whether s includes everything and protects nothing.
func (s *Set) Empty() bool { return s == nil || len(s.rules) == 0 && s.only == nil }

// At returns s for a transfer whose root lies at the slash-separated path root
// below the place where absolute patterns (modifier "/") begin: the module's
// directory at a server, "/" elsewhere. Without At, that place is the root of
// the transfer itself. The location is not part of the canonical text.
func (s *Set) At(root string) *Set {
	if s == nil {
		return nil
	}
	t := &Set{rules: make([]rule, len(s.rules)), root: strings.Trim(root, "/")}
	for i := range s.rules {
		if t.rules[i] = s.rules[i]; t.rules[i].flags&absolute != 0 {
			t.rules[i] = compile(s.rules[i].spec, t.root)
		}
	}
	if s.only != nil {
		t.index(s.only)
	}
	return t
}

// Hidden reports whether the sending side leaves an entry out of the transfer.
// path is relative to the root of the transfer, in the form of manifest.Entry's
// Path; dir tells whether the entry is a directory (a symlink is not). The root
// itself is never hidden. Hidden judges the entry alone: whoever walks a tree
// must not descend into a hidden directory, or use HiddenTree.
func (s *Set) Hidden(path string, dir bool) bool {
	if s == nil || path == "" {
		return false
	}
	if s.only == nil {
		return s.denies(path, dir, sender)
	}
	at := s.only[path]
	if at&above != 0 && dir {
		return false // what leads to a listed path is taken whatever the rules say
	}
	if s.denies(path, dir, sender) {
		return true
	}
	return at&listed == 0 && !s.brings(parent(path))
}

// HiddenTree is Hidden for an entry of which it is not known whether the
// directories that hold it are hidden: it asks for each of them as well.
func (s *Set) HiddenTree(path string, dir bool) bool {
	if s.Empty() {
		return false
	}
	for i := 0; i < len(path); i++ {
		if path[i] == '/' && s.Hidden(path[:i], true) {
			return true
		}
	}
	return s.Hidden(path, dir)
}

// Protected reports whether the receiving side must keep an entry that the
// sender does not have, although deletion was asked for. It is about an entry
// of a directory that stays. With a list of paths to take, only entries of
// directories whose contents the list brings are ever at risk. A directory
// that is not protected may hold entries that are: see ProtectedWithin.
func (s *Set) Protected(path string, dir bool) bool {
	if s == nil || path == "" {
		return false
	}
	if s.only != nil && !s.brings(parent(path)) {
		return true
	}
	return s.denies(path, dir, receiver)
}

// ProtectedWithin is Protected for an entry of a directory that is itself
// about to be deleted: perishable rules do not count there. An entry that is
// protected keeps the directories that hold it.
func (s *Set) ProtectedWithin(path string, dir bool) bool {
	return s != nil && path != "" && s.denies(path, dir, receiver|perishable)
}

// denies returns the verdict of the first rule for the side that matches.
// With perishable in side, perishable rules are passed over.
func (s *Set) denies(path string, dir bool, side flags) bool {
	q := query{path: path, base: path[strings.LastIndexByte(path, '/')+1:], dir: dir}
	for i := range s.rules {
		r := &s.rules[i]
		if r.flags&side&(sender|receiver) == 0 || r.flags&side&perishable != 0 {
			continue
		}
		if r.matches(&q, s.root) {
			return r.flags&include == 0
		}
	}
	return false
}

// parent returns the directory that holds path; the root's parent is "".
func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}
