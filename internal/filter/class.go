package filter

import "strings"

// byteSet is a set of bytes.
type byteSet [4]uint64

func (s *byteSet) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }

// add adds the bytes from lo to hi.
func (s *byteSet) add(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		s[c>>6] |= 1 << (c & 63)
	}
}

// parseClass reads what follows the "[" of a character class and returns the
// set and the number of bytes read, including the "]". The number is -1 if the
// class has no end or an unknown name in it. The first byte belongs to the
// class even if it is "]", a "-" counts between two bytes only, and the set
// never holds a slash.
func parseClass(p string) (*byteSet, int) {
	var set byteSet
	i := 0
	inverted := strings.HasPrefix(p, "!") || strings.HasPrefix(p, "^")
	if inverted {
		i++
	}
	low := -1 // byte that a "-" makes the lower end of a range
	for first := i; ; first = -1 {
		if i >= len(p) {
			return nil, -1
		}
		c := p[i]
		if c == ']' && i != first {
			break
		}
		switch {
		case c == '\\':
			if i++; i >= len(p) {
				return nil, -1
			}
			set.add(p[i], p[i])
			low = int(p[i])
		case c == '-' && low >= 0 && i+1 < len(p) && p[i+1] != ']':
			if i++; p[i] == '\\' {
				if i++; i >= len(p) {
					return nil, -1
				}
			}
			set.add(byte(low), p[i])
			low = -1
		case c == '[' && strings.HasPrefix(p[i+1:], ":"):
			end := strings.IndexByte(p[i+2:], ']')
			if end < 0 {
				return nil, -1
			}
			name, named := strings.CutSuffix(p[i+2:i+2+end], ":")
			if !named { // an ordinary bracket
				set.add('[', '[')
				low = '['
				break
			}
			if !set.addNamed(name) {
				return nil, -1
			}
			i += 2 + end
			low = -1
		default:
			set.add(c, c)
			low = int(c)
		}
		i++
	}
	if inverted {
		for w := range set {
			set[w] = ^set[w]
		}
	}
	set['/'>>6] &^= 1 << ('/' & 63)
	return &set, i + 1
}

// addNamed adds the ASCII members of the POSIX class name.
func (s *byteSet) addNamed(name string) bool {
	switch name {
	case "alnum":
		s.add('0', '9')
		s.add('A', 'Z')
		s.add('a', 'z')
	case "alpha":
		s.add('A', 'Z')
		s.add('a', 'z')
	case "blank":
		s.add('\t', '\t')
		s.add(' ', ' ')
	case "cntrl":
		s.add(0, 0x1f)
		s.add(0x7f, 0x7f)
	case "digit":
		s.add('0', '9')
	case "graph":
		s.add('!', '~')
	case "lower":
		s.add('a', 'z')
	case "print":
		s.add(' ', '~')
	case "punct":
		s.add('!', '/')
		s.add(':', '@')
		s.add('[', '`')
		s.add('{', '~')
	case "space":
		s.add('\t', '\r')
		s.add(' ', ' ')
	case "upper":
		s.add('A', 'Z')
	case "xdigit":
		s.add('0', '9')
		s.add('A', 'F')
		s.add('a', 'f')
	default:
		return false
	}
	return true
}
