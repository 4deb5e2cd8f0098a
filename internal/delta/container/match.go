package container

// matching says for each item of the new file which old item it resembles, and
// where its unit comes from.
type matching struct {
	next, old *Layout
	pieces    []piece // without n and params of packed units
}

// match finds them: by name, by the letters of the name, then by content.
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
	content := make(map[sum]int32, len(old.items))
	for i := len(old.items) - 1; i >= 0; i-- {
		if old.items[i].data > 0 {
			content[was[i]] = int32(i)
		}
	}
	used := make([]bool, len(old.items))
	for i := range next.items {
		m.pieces[i] = piece{kind: next.items[i].kind, link: next.items[i].link, ref: -1}
	}
	m.byName(used, func(it *item) uint64 { return it.key })
	m.byName(used, func(it *item) uint64 { return it.loose })
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
	m.records()
	return m, nil
}

// records gives records of central directories the old ones of the same entry.
func (m *matching) records() {
	record := make([]int32, len(m.old.items))
	for i := range m.old.items {
		record[i] = -1
		if it := &m.old.items[i]; it.kind == central {
			record[it.link] = int32(i)
		}
	}
	for i := range m.pieces {
		if p := &m.pieces[i]; p.kind == central && m.pieces[p.link].ref >= 0 {
			p.ref = record[m.pieces[p.link].ref]
		}
	}
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

// byName gives pieces without one the first old item of the same key that is not
// used yet.
func (m *matching) byName(used []bool, key func(*item) uint64) {
	heads := make(map[uint64]int32, len(m.old.items))
	nexts := make([]int32, len(m.old.items))
	for i := len(nexts) - 1; i >= 0; i-- {
		if used[i] {
			continue
		}
		k := key(&m.old.items[i])
		nexts[i] = -1
		if j, ok := heads[k]; ok {
			nexts[i] = j
		}
		heads[k] = int32(i)
	}
	for i := range m.pieces {
		p := &m.pieces[i]
		if p.ref >= 0 || p.kind == central {
			continue
		}
		k := key(&m.next.items[i])
		j, ok := heads[k]
		if !ok || j < 0 || m.old.items[j].kind != p.kind {
			continue
		}
		p.ref, used[j], heads[k] = j, true, nexts[j]
	}
}
