package bytediff

import "encoding/binary"

// The five streams of a difference. What old and new bytes differ by is mostly
// zero, and what is not zero stands in short groups: lengths and values code
// better apart.
const (
	control = iota // runs: varints, see split
	zeros          // lengths of groups of zero differences, uvarints
	others         // lengths of groups of other differences, uvarints
	values         // those differences: new - old, modulo 256
	extra          // what no run explains
	numStreams
)

// split makes the streams of a difference. The control stream holds for each
// run the length of the extra bytes before it, its own length, and the
// distance of its old place from the end of the run before: the lengths of all
// runs, one after the other, then the next column.
func split(old, fresh []byte, runs []Run) (s [numStreams][]byte) {
	var cols [3][]byte
	from, place := 0, 0
	var d diffs
	for _, r := range runs {
		cols[0] = binary.AppendUvarint(cols[0], uint64(r.New-from))
		cols[1] = binary.AppendUvarint(cols[1], uint64(r.Len))
		cols[2] = binary.AppendVarint(cols[2], int64(r.Old-place))
		s[extra] = append(s[extra], fresh[from:r.New]...)
		d.add(fresh[r.New:r.New+r.Len], old[r.Old:r.Old+r.Len])
		from, place = r.New+r.Len, r.Old+r.Len
	}
	s[extra] = append(s[extra], fresh[from:]...)
	d.flush()
	s[zeros], s[others], s[values] = d.zeros, d.others, d.values
	s[control] = binary.AppendUvarint(nil, uint64(len(runs)))
	for _, c := range cols {
		s[control] = append(s[control], c...)
	}
	return s
}

// diffs groups differences over the runs, as if these were one.
type diffs struct {
	zeros, others, values []byte
	zero, other           int // of the group under way: zeros, then others
}

func (d *diffs) add(a, b []byte) {
	for i := 0; i < len(a); {
		if n := common(a[i:], b[i:]); n > 0 {
			if d.other > 0 {
				d.flush()
			}
			d.zero += n
			i += n
			continue
		}
		d.values = append(d.values, a[i]-b[i])
		d.other++
		i++
	}
}

// flush ends a group.
func (d *diffs) flush() {
	if d.zero == 0 && d.other == 0 {
		return
	}
	d.zeros = binary.AppendUvarint(d.zeros, uint64(d.zero))
	d.others = binary.AppendUvarint(d.others, uint64(d.other))
	d.zero, d.other = 0, 0
}
