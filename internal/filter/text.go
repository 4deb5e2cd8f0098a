package filter

import (
	"bytes"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
)

// The canonical text has a line for each rule in order and for each listed
// path by its bytes, each ended by a newline:
//
//	-/!srp PATTERN    exclude; + include; modifiers in this order; a rule for
//	                  both sides has neither s nor r
//	only              there is a list; it comes after the rules
//	= PATH            a listed path
//	=/ PATH           with the entries that it holds
//	=* PATH           with everything below it
//
// In patterns and paths, control bytes and "%" are written as % and two
// upper-case hexadecimal digits. The text of a Set without rules is empty.

type modifier struct {
	letter byte
	flag   flags
}

// textModifiers are the modifiers in the order of the text.
var textModifiers = []modifier{{'/', absolute}, {'!', negate}, {'s', sender}, {'r', receiver}, {'p', perishable}}

// AppendText appends the canonical text of s to b: equal rules give equal
// text, whatever options and files they came from.
func (s *Set) AppendText(b []byte) []byte {
	if s == nil {
		return b
	}
	for i := range s.rules {
		p := s.rules[i].spec
		kind := byte('-')
		if p.flags&include != 0 {
			kind = '+'
		}
		b = append(b, kind)
		for _, m := range textModifiers {
			if p.flags&m.flag != 0 && (m.flag&sides == 0 || p.flags&sides != sides) {
				b = append(b, m.letter)
			}
		}
		b = appendEscaped(append(b, ' '), p.pattern)
		if p.flags&dirOnly != 0 {
			b = append(b, '/')
		}
		b = append(b, '\n')
	}
	if s.only == nil {
		return b
	}
	b = append(b, "only\n"...)
	for _, path := range slices.Sorted(maps.Keys(s.only)) {
		at := s.only[path]
		if at&listed == 0 {
			continue
		}
		b = append(b, '=')
		switch {
		case at&deep != 0:
			b = append(b, '*')
		case at&shallow != 0:
			b = append(b, '/')
		}
		b = append(appendEscaped(append(b, ' '), path), '\n')
	}
	return b
}

// Parse returns the Set of a canonical text. Text that is too long or not of
// the form that AppendText gives is refused with an error of class
// fault.Usage; it may come from anywhere.
func Parse(text []byte) (*Set, error) {
	if len(text) > MaxText {
		return nil, refuseText("%d bytes, at most %d are possible", len(text), MaxText)
	}
	if n := bytes.Count(text, []byte("\n")); n > MaxRules+1 {
		return nil, refuseText("more than %d rules and paths", MaxRules)
	}
	s := &Set{}
	var paths map[string]place
	for line := range strings.Lines(string(text)) {
		if err := s.parseLine(strings.TrimSuffix(line, "\n"), &paths); err != nil {
			return nil, err
		}
	}
	if len(s.rules)+len(paths) > MaxRules {
		return nil, refuseText("more than %d rules and paths", MaxRules)
	}
	if paths != nil {
		s.index(paths)
	}
	// This refuses every other way to write the same rules, so that the text's
	// digest stands for the rules.
	if !bytes.Equal(s.AppendText(make([]byte, 0, len(text))), text) {
		return nil, refuseText("the rules are not in canonical form")
	}
	return s, nil
}

// parseLine adds what one line of the canonical text says, a rule to s or a
// path to paths.
func (s *Set) parseLine(line string, paths *map[string]place) error {
	if line == "only" && *paths == nil {
		*paths = make(map[string]place)
		return nil
	}
	head, rest, ok := strings.Cut(line, " ")
	if !ok || head == "" {
		return refuseText("line %.100q", line)
	}
	value, ok := unescape(rest)
	if !ok {
		return refuseText("line %.100q has a broken escape", line)
	}
	if head[0] == '=' {
		return parsePath(head[1:], value, *paths)
	}
	var f flags
	switch head[0] {
	case '-':
	case '+':
		f = include
	default:
		return refuseText("unknown kind of rule %.100q", line)
	}
	for _, c := range []byte(head[1:]) {
		i := slices.IndexFunc(textModifiers, func(m modifier) bool { return m.letter == c })
		if i < 0 {
			return refuseText("unknown modifier in rule %.100q", line)
		}
		f |= textModifiers[i].flag
	}
	if f&sides == 0 {
		f |= sides
	}
	if err := checkPattern(value); err != nil {
		return refuseText("%v", err)
	}
	s.rules = append(s.rules, compile(newSpec(f, value), ""))
	return nil
}

// parsePath adds one listed path to paths.
func parsePath(how, value string, paths map[string]place) error {
	path, _, err := cleanListed(value)
	switch {
	case err != nil:
		return refuseText("%v", err)
	case paths == nil:
		return refuseText("path %.100q without a list", value)
	case path != value:
		return refuseText("path %.100q", value)
	}
	switch how {
	case "":
		paths[path] = listed
	case "/":
		paths[path] = listed | shallow
	case "*":
		paths[path] = listed | deep
	default:
		return refuseText("unknown kind of path %.100q", how)
	}
	return nil
}

func refuseText(text string, args ...any) error {
	return fault.New(fault.Usage, "", "filter from the peer: "+text, args...)
}

// needsEscape reports whether c can not stand for itself in the text.
func needsEscape(c byte) bool { return c < ' ' || c == 0x7f || c == '%' }

func appendEscaped(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; needsEscape(c) {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+3 > len(s) {
			return "", false
		}
		c, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b = append(b, c[0])
		i += 2
	}
	return string(b), true
}
