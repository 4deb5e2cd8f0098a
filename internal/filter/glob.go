package filter

import "strings"

// kind is what one element of a pattern matches.
type kind uint8

const (
	literal  kind = iota // the byte c
	one                  // any byte but a slash: ?
	class                // any byte of set, which never holds a slash: [...]
	some                 // any bytes but slashes: *
	anything             // any bytes: **
)

// op is one element of a pattern.
type op struct {
	kind kind
	c    byte
	set  *byteSet
}

// is reports whether o matches the byte c and no other.
func (o op) is(c byte) bool { return o.kind == literal && o.c == c }

// accepts reports whether o, which matches exactly one byte, matches c.
func (o op) accepts(c byte) bool {
	switch o.kind {
	case literal:
		return o.c == c
	case one:
		return c != '/'
	}
	return o.set.has(c)
}

// parseOps splits a wildcard pattern. It returns false for patterns that can
// not match anything: those with a broken class or a backslash at the end.
func parseOps(p string) ([]op, bool) {
	ops := make([]op, 0, len(p))
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			if i++; i == len(p) {
				return nil, false
			}
			ops = append(ops, op{kind: literal, c: p[i]})
		case '?':
			ops = append(ops, op{kind: one})
		case '*':
			k := some
			for i+1 < len(p) && p[i+1] == '*' {
				i++
				k = anything
			}
			ops = append(ops, op{kind: k})
		case '[':
			set, n := parseClass(p[i+1:])
			if n < 0 {
				return nil, false
			}
			i += n
			ops = append(ops, op{kind: class, set: set})
		default:
			ops = append(ops, op{kind: literal, c: p[i]})
		}
	}
	return ops, true
}

// glob matches a whole text: prefix, then mid, then suffix. Most patterns are
// decided by prefix and suffix alone. The zero glob matches the empty text.
type glob struct {
	prefix, suffix string
	mid            []op // empty, or neither begins nor ends with a literal
}

func newGlob(ops []op) glob {
	i, j := 0, len(ops)
	for i < j && ops[i].kind == literal {
		i++
	}
	for i < j && ops[j-1].kind == literal {
		j--
	}
	return glob{literals(ops[:i]), literals(ops[j:]), ops[i:j]}
}

func literals(ops []op) string {
	var b strings.Builder
	for _, o := range ops {
		b.WriteByte(o.c)
	}
	return b.String()
}

// match reports whether g matches all of s, in time O(len(s) * len(pattern)).
func (g *glob) match(s string) bool {
	n := len(s) - len(g.prefix) - len(g.suffix)
	if n < 0 || s[len(g.prefix)+n:] != g.suffix || s[:len(g.prefix)] != g.prefix {
		return false
	}
	s = s[len(g.prefix) : len(g.prefix)+n]
	switch {
	case len(g.mid) == 0:
		return n == 0
	case len(g.mid) > 1:
		return search(g.mid, s)
	case g.mid[0].kind == anything:
		return true
	case g.mid[0].kind == some:
		return strings.IndexByte(s, '/') < 0
	}
	return n == 1 && g.mid[0].accepts(s[0])
}

// search matches by taking as little as possible for each wildcard and, on a
// mismatch, giving a byte more to the last "*", or if a slash stops it, to the
// last "**". Earlier wildcards need no second try: what lies between two
// wildcards is best matched as far left as possible. With both kinds in a
// pattern this can cost the square of the text's length; then simulate, which
// is slower for ordinary patterns, takes over.
func search(ops []op, s string) bool {
	const none = -1
	i, j := 0, 0              // next byte of s, next element
	starAt, starOp := 0, none // where the last "*" ends, the element behind it
	deepAt, deepOp := 0, none // the same of the last "**"
	for effort := 16 * (len(s) + len(ops)); effort > 0; effort-- {
		switch {
		case j == len(ops) && i == len(s):
			return true
		case j < len(ops) && ops[j].kind == some:
			j++
			starAt, starOp = i, j
		case j < len(ops) && ops[j].kind == anything:
			j++
			deepAt, deepOp, starOp = i, j, none
		case j < len(ops) && i < len(s) && ops[j].accepts(s[i]):
			i, j = i+1, j+1
		case starOp != none && starAt < len(s) && s[starAt] != '/':
			starAt++
			i, j = starAt, starOp
		case deepOp != none && deepAt < len(s):
			deepAt++
			i, j, starOp = deepAt, deepOp, none
		default:
			return false
		}
	}
	return simulate(ops, s)
}

// simulate matches by keeping every position of the pattern that the bytes
// read so far can lead to.
func simulate(ops []op, s string) bool {
	now, next := make([]bool, len(ops)+1), make([]bool, len(ops)+1)
	now[0] = true
	skipWildcards(ops, now)
	for i := 0; i < len(s); i++ {
		clear(next)
		alive := false
		for j, o := range ops {
			if !now[j] {
				continue
			}
			switch {
			case o.kind == anything, o.kind == some && s[i] != '/':
				next[j], alive = true, true
			case o.kind != some && o.accepts(s[i]):
				next[j+1], alive = true, true
			}
		}
		if !alive {
			return false
		}
		skipWildcards(ops, next)
		now, next = next, now
	}
	return now[len(ops)]
}

// skipWildcards adds the positions behind wildcards, which may match nothing.
func skipWildcards(ops []op, at []bool) {
	for j, o := range ops {
		if at[j] && (o.kind == some || o.kind == anything) {
			at[j+1] = true
		}
	}
}
