package bytediff

import "encoding/binary"

// IsDict reports whether a difference uses the old version as a dictionary,
// and not in streams.
func IsDict(diff []byte) bool {
	_, n := binary.Uvarint(diff)
	return n > 0 && n < len(diff) && diff[n] == kindDict
}

// Weigh counts what is to be coded for the bytes [from, to) of fresh: literals,
// which no run explains, and bytes that differ from the old ones within runs.
func Weigh(fresh, old []byte, runs []Run, from, to int) (literals, others int) {
	lo, hi := 0, len(runs)
	for lo < hi { // the first run that ends after from
		if mid := (lo + hi) / 2; runs[mid].New+runs[mid].Len <= from {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	at := from
	for _, r := range runs[lo:] {
		if r.New >= to {
			break
		}
		a, b := max(r.New, from), min(r.New+r.Len, to)
		literals += a - at
		others += b - a - alike(fresh[a:b], old[r.Old+a-r.New:r.Old+b-r.New])
		at = b
	}
	return literals + to - at, others
}
