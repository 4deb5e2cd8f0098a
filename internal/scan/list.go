package scan

import (
	"bytes"
	"slices"

	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	chunkBits = 20
	chunkSize = 1 << chunkBits // bytes; a name never straddles two chunks
	// defaultMaxNames bounds the bytes of names that a walk holds, except that
	// each directory has at least a share of it by MaxDepth. A directory with
	// more is read in several passes.
	defaultMaxNames = 64 << 20
	// keptNames bounds what an idle list keeps for its next use.
	keptNames = 256 << 10
	// keptLists bounds the number of idle lists.
	keptLists = 16
)

// list holds names of one directory, sorted, without an allocation for each:
// a length byte and the name, one after the other, in chunks.
//
// A directory with more than limit bytes of names is read more than once: each
// pass keeps the lowest names above those of the pass before, so that memory
// is bounded and nothing is written to disk.
type list struct {
	limit  int
	chunks [][]byte
	at     []uint32 // where each name begins: chunk number and offset in it
	size   int      // bytes in chunks
	bound  []byte   // when more: the pass keeps only names up to this one
	more   bool     // the directory has names above the last
}

func (l *list) reset() {
	if l.size > keptNames {
		l.chunks, l.at = nil, nil
	}
	for i := range l.chunks {
		l.chunks[i] = l.chunks[i][:0]
	}
	l.chunks = l.chunks[:min(1, len(l.chunks))]
	l.at, l.size, l.more = l.at[:0], 0, false
}

// read fills l with the lowest of the names that each yields above after; the
// empty name is below all. long is called for each name that a manifest cannot
// hold, on the first pass.
func (l *list) read(each func(fn func(name []byte) error) error, after []byte, step func(bytes int), long func(name []byte)) error {
	l.reset()
	err := each(func(name []byte) error {
		step(len(name))
		switch {
		case len(name) > manifest.MaxName:
			if len(after) == 0 {
				long(name)
			}
			return nil
		case bytes.Compare(name, after) <= 0:
			return nil
		case l.more && bytes.Compare(name, l.bound) > 0:
			return nil
		}
		l.add(name)
		if l.size > l.limit {
			l.halve()
		}
		return nil
	})
	l.sort()
	return err
}

func (l *list) add(name []byte) {
	n := len(l.chunks)
	if n == 0 || len(l.chunks[n-1])+1+len(name) > chunkSize {
		first := 0
		if n > 0 {
			first = chunkSize // a big directory: no more growing by copying
		}
		l.chunks = append(l.chunks, make([]byte, 0, first))
		n++
	}
	c := l.chunks[n-1]
	l.at = append(l.at, uint32((n-1)<<chunkBits|len(c)))
	c = append(c, byte(len(name)))
	l.chunks[n-1] = append(c, name...)
	l.size += 1 + len(name)
}

// name returns the i-th name, valid until the list is read anew.
func (l *list) name(i int) []byte { return l.get(l.at[i]) }

func (l *list) get(at uint32) []byte {
	c := l.chunks[at>>chunkBits][at&(chunkSize-1):]
	return c[1 : 1+int(c[0])]
}

func (l *list) len() int { return len(l.at) }

// sort orders the names and drops those that the system listed twice, as it
// may when a directory changes meanwhile.
func (l *list) sort() {
	slices.SortFunc(l.at, func(a, b uint32) int { return bytes.Compare(l.get(a), l.get(b)) })
	l.at = slices.CompactFunc(l.at, func(a, b uint32) bool { return bytes.Equal(l.get(a), l.get(b)) })
}

// halve keeps the lower half of the names.
func (l *list) halve() {
	l.sort()
	half := list{limit: l.limit}
	for i := range max(1, len(l.at)/2) {
		half.add(l.name(i))
	}
	half.more = l.more || half.len() < l.len()
	half.bound = append(l.bound[:0], half.name(half.len()-1)...)
	*l = half
}
