package bytediff

// A Run says that Len bytes at New of the new version are much like those at
// Old of the old one: they are coded as differences.
type Run struct{ New, Old, Len int }

const (
	gain  = 24 // bytes by which another place must be better than going on
	ahead = 64 // bytes by which places are compared
)

// Match explains fresh by runs of the old version. They ascend by New and do not
// overlap; what lies between them is new. tick is called now and then with the
// bytes passed, its error ends the work; it may be nil.
//
// The method is that of bsdiff (C. Percival, Naive Differences of Executable
// Code, 2003), with a hash of seeds in place of the suffix array.
func (x *Index) Match(fresh []byte, tick func(n int) error) ([]Run, error) {
	m := matcher{Index: x, fresh: fresh}
	told := 0
	for at := 0; at < len(fresh); {
		if tick != nil && at-told >= 1<<20 {
			if err := tick(at - told); err != nil {
				return nil, err
			}
			told = at
		}
		at = m.step(at)
	}
	m.finish(len(fresh), 0)
	if tick != nil {
		if err := tick(len(fresh) - told); err != nil {
			return nil, err
		}
	}
	return m.runs, nil
}

// matcher walks the new version along a diagonal: a distance between the new
// version and the old, which runs share.
type matcher struct {
	*Index
	fresh []byte
	runs  []Run
	cur   Run  // begins here; Len is not yet known
	on    bool // there is a diagonal: cur
}

// step looks at the place at and returns the next one to look at.
func (m *matcher) step(at int) int {
	if m.on {
		if p := m.cur.Old + at - m.cur.New; p < len(m.old) {
			if here := common(m.fresh[at:], m.old[p:]); here >= seedLen { // it goes on as it did
				return at + here
			}
		}
	}
	if at+seedLen > len(m.fresh) {
		return len(m.fresh)
	}
	if m.table == nil {
		return len(m.fresh)
	}
	best, place := 0, 0
	b := m.bucket(m.fresh[at:])
	for _, s := range b {
		if s == 0 {
			break
		}
		p := int(s-1) * seedStep
		if m.on && p-at == m.cur.Old-m.cur.New {
			continue
		}
		if common(m.fresh[at:], m.old[p:min(len(m.old), p+seedLen)]) < seedLen {
			continue
		}
		if g := m.better(at, p); g > best {
			best, place = g, p
		}
	}
	least := gain
	if !m.on {
		least = seedLen
	}
	if best < least {
		return at + 1
	}
	m.turn(at, place)
	return at + max(1, common(m.fresh[at:], m.old[place:]))
}

// better returns by how many bytes place p of the old version explains what is
// at at better than going on does.
func (m *matcher) better(at, p int) int {
	n := m.reach(at, p)
	// What lies before counts too, as the run will be extended backwards.
	back := 0
	for back < at && back < p && back < ahead && m.fresh[at-1-back] == m.old[p-1-back] {
		back++
	}
	same := alike(m.fresh[at-back:at+n], m.old[p-back:p+n])
	if !m.on {
		return same
	}
	q := m.cur.Old + at - m.cur.New
	from, to := q-back, min(q+n, len(m.old))
	if from < 0 || from >= to {
		return same
	}
	return same - alike(m.fresh[at-back:at+n], m.old[from:to])
}

// reach returns how far p explains what is at at, within ahead, as the
// extension of a run would find.
func (m *matcher) reach(at, p int) int {
	a, b := m.fresh[at:min(len(m.fresh), at+ahead)], m.old[p:min(len(m.old), p+ahead)]
	return extend(a, b)
}

// extend returns the length at which a and b agree most: the agreeing bytes
// less those that do not.
func extend(a, b []byte) int {
	n := min(len(a), len(b))
	score, best, at := 0, 0, 0
	for i := 0; i < n; {
		if c := common(a[i:n], b[i:n]); c > 0 {
			i += c
			if score += c; score > best {
				best, at = score, i
			}
			continue
		}
		i++
		score--
	}
	return at
}

// turn ends the present run before at and begins one at p for at.
func (m *matcher) turn(at, p int) {
	m.finish(at, p)
	m.on = true
}

// finish ends the present run so that the next one begins at at, for the old
// place p: each byte between goes to the one that explains it better.
func (m *matcher) finish(at, p int) {
	from := m.cur.New // of what is not explained yet
	forward := 0
	if m.on {
		forward = extend(m.fresh[from:at], m.old[m.cur.Old:])
	}
	back := 0
	if at < len(m.fresh) {
		back = m.backward(from, at, p)
	}
	if over := from + forward - (at - back); over > 0 {
		// Both claim the same bytes: cut where most of them agree.
		start := at - back
		score, best, cut := 0, 0, 0
		for i := range over {
			if m.fresh[start+i] == m.old[m.cur.Old+start-from+i] {
				score++
			}
			if m.fresh[start+i] == m.old[p-back+i] {
				score--
			}
			if score > best {
				best, cut = score, i+1
			}
		}
		forward += cut - over
		back -= cut
	}
	if forward > 0 {
		m.runs = append(m.runs, Run{from, m.cur.Old, forward})
	}
	m.cur = Run{New: at - back, Old: p - back}
}

// backward returns how far before at and p the two agree most, not before from.
func (m *matcher) backward(from, at, p int) int {
	score, best, n := 0, 0, 0
	for i := 1; at-i >= from && p-i >= 0; i++ {
		if m.fresh[at-i] == m.old[p-i] {
			score++
		} else {
			score--
		}
		if score > best {
			best, n = score, i
		}
	}
	return n
}
