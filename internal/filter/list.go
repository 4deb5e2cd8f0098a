package filter

import (
	"fmt"
	"strings"
)

// place is what a list of paths says about one path.
type place uint8

const (
	listed  place = 1 << iota // is on the list
	shallow                   // with the entries that it holds
	deep                      // with everything below it
	above                     // leads to a listed path
)

// maxIndexWork bounds the bytes of rules times the bytes of paths that index
// compares; the rules and paths may be a peer's.
const maxIndexWork = 1 << 30

// index notes for every listed path which directories lead to it. A path that
// the rules hide has none; where that depends on whether it is a directory,
// which is not known here, it counts as not hidden. So do all paths if finding
// out took too long: the price is a directory without contents.
func (s *Set) index(paths map[string]place) {
	s.only = make(map[string]place, len(paths))
	var ruleBytes, pathBytes int64
	for i := range s.rules {
		ruleBytes += int64(len(s.rules[i].pattern)) + 8
	}
	for path := range paths {
		pathBytes += int64(len(path)) + 8
	}
	judge := ruleBytes*pathBytes <= maxIndexWork
	for path, at := range paths {
		if at &= listed | shallow | deep; at == 0 {
			continue
		}
		s.only[path] |= at
		if judge && s.denies(path, true, sender) && (at&shallow != 0 || s.denies(path, false, sender)) {
			continue
		}
		for path != "" {
			if path = parent(path); s.only[path]&above != 0 {
				break
			}
			s.only[path] |= above
		}
	}
}

// Listed returns the paths of the list, in no order, and whether there is one.
func (s *Set) Listed() (paths map[string]struct{}, ok bool) {
	if s == nil || s.only == nil {
		return nil, false
	}
	paths = make(map[string]struct{}, len(s.only))
	for path, at := range s.only {
		if at&listed != 0 {
			paths[path] = struct{}{}
		}
	}
	return paths, true
}

// brings reports whether the list takes the entries that dir holds.
//
// A directory that leads to a listed path is walked even if a rule hides it,
// but then for that path only.
func (s *Set) brings(dir string) bool {
	for d := dir; ; d = parent(d) {
		at := s.only[d]
		if at&above != 0 && d != "" && s.denies(d, true, sender) {
			return false
		}
		if at&deep != 0 || d == dir && at&shallow != 0 {
			return true
		}
		if d == "" {
			return false
		}
	}
}

// cleanListed brings a line of a list of paths to the form of manifest.Entry's
// Path and tells whether it asks for the contents of the directory it names,
// by a slash or a dot at its end.
func cleanListed(line string) (path string, contents bool, err error) {
	if len(line) > MaxPattern {
		return "", false, fmt.Errorf("path of %d bytes, at most %d are possible", len(line), MaxPattern)
	}
	if strings.IndexByte(line, 0) >= 0 {
		return "", false, fmt.Errorf("path %.200q contains a NUL byte", line)
	}
	var kept []string
	dot := false // behind a name came a "."
	for name := range strings.SplitSeq(line, "/") {
		if dot {
			return "", false, fmt.Errorf("path %.200q moves the root of the transfer by %q, which is not supported", line, "/./")
		}
		switch contents = true; name {
		case "":
		case ".":
			dot = len(kept) > 0
		case "..":
			return "", false, fmt.Errorf("path %.200q leaves its directory by %q", line, name)
		default:
			contents = false
			kept = append(kept, name)
		}
	}
	return strings.Join(kept, "/"), contents, nil
}
