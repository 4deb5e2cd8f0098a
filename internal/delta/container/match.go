package container

// matching says for each item of the new file which old item it resembles, and
// where its unit comes from.
type matching struct {
	next, old *Layout
	pieces    []piece // without n and params of packed units
}

// match finds them: by name, then by content.
func match(next, old *Layout) (*matching, error) {
	sums, err := next.sums()
	if err != nil {
		return nil, err
	}
	was, err := old.sums()
	if err != nil {
		return nil, err
	}
	m := &matching{next: next, old: old, pieces: make([]piece, len(next.items))}
	// Old items by name, and units by content; each in the order of the file.
	names := newIndex(old.items)
	content := make(map[sum]int32, len(old.items))
	for i := len(old.items) - 1; i >= 0; i-- {
		if old.items[i].data > 0 {
			content[was[i]] = int32(i)
		}
	}
	used := make([]bool, len(old.items))
	for i := range next.items {
		it, p := &next.items[i], &m.pieces[i]
		p.kind, p.link = it.kind, it.link
		if p.ref = names.take(it); p.ref >= 0 {
			used[p.ref] = true
		}
	}
	for i := range next.items {
		it, p := &next.items[i], &m.pieces[i]
		same := int32(-1)
		if it.data > 0 {
			if j, ok := content[sums[i]]; ok && old.items[j].data == it.data {
				same = j
			}
		}
		if p.ref < 0 && same >= 0 && !used[same] && old.items[same].kind == it.kind {
			p.ref = same // it has another name now
			used[same] = true
		}
		switch {
		case it.data == 0:
			p.source = noUnit
		case p.ref >= 0 && old.items[p.ref].data == it.data && was[p.ref] == sums[i]:
			p.source = sameUnit
		case same >= 0:
			p.source, p.from = otherUnit, same
		default:
			p.source, p.n = fresh, it.data
		}
	}
	return m, nil
}

// copied tells of each old item whether its unit is copied.
func (m *matching) copied() []bool {
	all := make([]bool, len(m.old.items))
	for i := range m.pieces {
		switch p := &m.pieces[i]; p.source {
		case sameUnit:
			all[p.ref] = true
		case otherUnit:
			all[p.from] = true
		}
	}
	return all
}

// index finds items by key: each once, in the order of the file.
type index struct {
	items []item
	heads map[uint64]int32
	nexts []int32
}

func newIndex(items []item) *index {
	x := &index{items: items, heads: make(map[uint64]int32, len(items)), nexts: make([]int32, len(items))}
	for i := len(items) - 1; i >= 0; i-- {
		x.nexts[i] = -1
		if j, ok := x.heads[items[i].key]; ok {
			x.nexts[i] = j
		}
		x.heads[items[i].key] = int32(i)
	}
	return x
}

// take returns the next item of the key and kind that it has; -1 if there is
// none.
func (x *index) take(it *item) int32 {
	i, ok := x.heads[it.key]
	if !ok || i < 0 || x.items[i].kind != it.kind {
		return -1
	}
	x.heads[it.key] = x.nexts[i]
	return i
}
