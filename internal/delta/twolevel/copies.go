package twolevel

import (
	"encoding/binary"
	"slices"
)

// MarshalCopies encodes the copies that make a file of size bytes, so that they
// can be kept between two looks.
func MarshalCopies(size int64, copies []Copy) []byte {
	b := binary.AppendUvarint([]byte{version}, uint64(size))
	b = binary.AppendUvarint(b, uint64(len(copies)))
	var last Copy
	for _, c := range copies {
		b = c.append(b, last)
		last = c
	}
	return b
}

func (c Copy) append(b []byte, last Copy) []byte {
	b = binary.AppendUvarint(b, uint64(c.New-last.New-last.Len))
	b = binary.AppendUvarint(b, uint64(c.Len))
	return binary.AppendVarint(b, c.Old-last.Old-last.Len)
}

// ParseCopies reads what MarshalCopies wrote for a file of size bytes. The
// copies ascend by New and lie within it; those of the old version lie within
// MaxSize.
func ParseCopies(b []byte, size int64) ([]Copy, error) {
	d := decoder{b: b}
	if v := d.take(1); d.bad || v[0] != version || len(b) > MaxState || size > MaxSize || d.int(size) != size {
		return nil, ErrFormat
	}
	n := d.int(MaxCopies)
	if d.bad || n > int64(len(d.b)/3) {
		return nil, ErrFormat
	}
	copies := make([]Copy, 0, n)
	var last Copy
	for range n {
		at := last.New + last.Len
		c := Copy{New: at + d.int(size-at)}
		c.Len = d.int(size - c.New)
		c.Old = last.Old + last.Len + d.signed()
		if d.bad || c.Len == 0 || c.Old < 0 || c.Old > MaxSize-c.Len {
			return nil, ErrFormat
		}
		copies = append(copies, c)
		last = c
	}
	if len(d.b) > 0 {
		return nil, ErrFormat
	}
	return copies, nil
}

// Unused returns what of the signed ranges no copy uses, but nothing that is
// shorter than least bytes.
func (s *Signature) Unused(copies []Copy, least int64) []Range {
	used := make([]Range, 0, len(copies))
	for _, c := range copies {
		used = append(used, Range{c.Old, c.Len})
	}
	slices.SortFunc(used, func(a, b Range) int {
		switch {
		case a.Off < b.Off:
			return -1
		case a.Off > b.Off:
			return 1
		}
		return 0
	})
	var out []Range
	put := func(from, to int64) {
		if to-from >= least && len(out) < maxBlocks {
			out = append(out, Range{from, to - from})
		}
	}
	u := 0
	for _, r := range s.Ranges {
		at, end := r.Off, r.Off+r.Len
		for ; u < len(used) && used[u].Off < end; u++ {
			if used[u].Off > at {
				put(at, used[u].Off)
			}
			at = max(at, used[u].Off+used[u].Len)
			if at > end {
				break // it may reach into the next range as well
			}
		}
		if at < end {
			put(at, end)
		}
	}
	return out
}
