package container

import (
	"encoding/binary"
	"slices"
)

// version is that of recipes, and of what Parse makes of files: both sides must
// see the same items in the old file.
const version = 1

// recipe is a decoded recipe but for the headers.
type recipe struct {
	size   int64 // of the new file
	pieces []piece
	copied []bool // old items whose unit is copied
	raw    []bool // spare deflated units that are not looked into
	rest   []byte // the headers
}

// appendOutline encodes the first part of a recipe. The pieces have what the
// parser and the matching found; raw lists the deflated old units that do not
// inflate, by item.
func appendOutline(b []byte, next, old *Layout, pieces []piece, raw map[int32]bool) []byte {
	c := &coder{encodes: true}
	o := newOutline(c, old)
	o.ordinals = make([]int32, len(pieces))
	for i := range pieces {
		o.piece(&pieces[i])
	}
	for i := range old.items {
		if it := &old.items[i]; it.deflated && it.data > 0 && !o.copied[i] {
			v := uint64(0)
			if raw[int32(i)] {
				v = 1
			}
			c.num(colSpare, val{}, some(0), v)
		}
	}
	c.bytes = o.jumps.done()
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(next.size))
	b = binary.AppendUvarint(b, uint64(old.size))
	b = binary.AppendUvarint(b, uint64(len(old.items)))
	b = binary.AppendUvarint(b, uint64(len(pieces)))
	return c.append(b)
}

// parseRecipe decodes the first part of a recipe for the old file.
func parseRecipe(b []byte, old *Layout) (*recipe, error) {
	if len(b) > MaxRecipe || len(b) == 0 || b[0] != version {
		return nil, ErrFormat
	}
	r := reader{b: b[1:]}
	size, oldSize, oldItems, n := r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	if r.bad || size > maxSize || oldSize != uint64(old.size) || oldItems != uint64(len(old.items)) || n > MaxItems+1 {
		return nil, ErrFormat
	}
	c, rest, err := parseCoder(r.b)
	if err != nil {
		return nil, err
	}
	o := newOutline(c, old)
	o.jumps.b = c.bytes
	o.pieces = make([]piece, 0, min(n, 1<<12)) // a hostile recipe grows as it is read
	for range n {
		var p piece
		if o.piece(&p); c.bad {
			return nil, ErrFormat
		}
	}
	d := &recipe{size: int64(size), pieces: slices.Clip(o.pieces), copied: o.copied, rest: rest}
	for i := range old.items {
		if it := &old.items[i]; it.deflated && it.data > 0 && !o.copied[i] {
			d.raw = append(d.raw, c.small(colSpare, val{}, some(0), 0, 1) == 1)
		}
	}
	if c.bad {
		return nil, ErrFormat
	}
	return d, nil
}

// spare returns the old units that are not copied, and for each old item its
// index among them.
func spareUnits(old *Layout, copied []bool, raw func(item int32) bool) (all []Unit, index []int32) {
	index = make([]int32, len(old.items))
	for i := range old.items {
		index[i] = -1
		it := &old.items[i]
		if it.data == 0 || copied[i] {
			continue
		}
		u := Unit{Offset: it.dataOff(), Length: it.data, Size: it.data, Ref: -1}
		if it.deflated && !raw(int32(i)) {
			u.Inflate, u.Size = true, it.size
		}
		index[i] = int32(len(all))
		all = append(all, u)
	}
	return all, index
}

// Spare returns the units of the old file that the recipe does not copy: the
// Spare of the Delta that the recipe comes from. It reads nothing.
func Spare(recipe []byte, old *Layout) ([]Unit, error) {
	r, err := parseRecipe(recipe, old)
	if err != nil {
		return nil, err
	}
	n := 0
	all, _ := spareUnits(old, r.copied, func(int32) bool { n++; return r.raw[n-1] })
	return all, nil
}
