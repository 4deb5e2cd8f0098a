package container

import (
	"encoding/binary"
	"slices"
)

const (
	maxSections = 1 << 12
	minSection  = 4 << 10 // smaller sections are part of what is between
)

// section is a section of an ELF file that lies in it.
type section struct {
	off, size int64
	name      uint32
	packed    bool // compressed, as SHF_COMPRESSED says
}

// elf parses an ELF file (System V ABI, gABI 4.1): its larger sections are
// units, compressed ones are looked into if the format is zlib's.
func (p *parser) elf(off, size int64, in label, head []byte) error {
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	wide := head[4] == 2
	num := func(b []byte) int64 {
		if wide {
			return int64(order.Uint64(b))
		}
		return int64(order.Uint32(b))
	}
	var table int64
	var each, count, names int
	entry := 40
	if wide {
		table, entry = num(head[40:]), 64
		each, count, names = int(order.Uint16(head[58:])), int(order.Uint16(head[60:])), int(order.Uint16(head[62:]))
	} else {
		table = num(head[32:])
		each, count, names = int(order.Uint16(head[46:])), int(order.Uint16(head[48:])), int(order.Uint16(head[50:]))
	}
	if each != entry || count == 0 || count > maxSections || table < 0 || table > size-int64(count*each) {
		return errPlain
	}
	b, err := p.read(off+table, count*each)
	if err != nil {
		return err
	}
	var all []section
	var strings []byte
	for i := range count {
		h := b[i*each:]
		s := section{name: order.Uint32(h)}
		var flags uint64
		if wide {
			flags, s.off, s.size = order.Uint64(h[8:]), num(h[24:]), num(h[32:])
		} else {
			flags, s.off, s.size = uint64(order.Uint32(h[8:])), num(h[16:]), num(h[20:])
		}
		s.packed = flags&0x800 != 0
		if nobits := order.Uint32(h[4:]) == 8; nobits || s.off < 0 || s.size < 0 || s.off > size || s.size > size-s.off {
			continue
		}
		if i == names && s.size <= 1<<20 {
			if strings, err = p.read(off+s.off, int(s.size)); err != nil {
				return err
			}
		}
		if s.size >= minSection || s.packed && s.size > 32 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b section) int {
		switch {
		case a.off < b.off, a.off == b.off && a.size < b.size:
			return -1
		case a.off > b.off || a.size > b.size:
			return 1
		}
		return 0
	})
	at := off
	name := []byte("head")
	for _, s := range all {
		if off+s.off < at {
			continue // it overlaps the one before
		}
		if err := p.gap(at, off+s.off, in, "before "+string(name)); err != nil {
			return err
		}
		name = sectionName(strings, s.name)
		at = off + s.off + s.size
		if err := p.section(off+s.off, s, order, wide, in.in(plain, name)); err != nil {
			return err
		}
	}
	return p.gap(at, off+size, in, "tail")
}

// sectionName returns the name at i of a table of names that end in zeros.
func sectionName(table []byte, i uint32) []byte {
	if int64(i) >= int64(len(table)) {
		return nil
	}
	name := table[i:]
	if n := slices.Index(name, 0); n >= 0 {
		name = name[:n]
	}
	return name
}

// section adds the items of a section at off.
func (p *parser) section(off int64, s section, order binary.ByteOrder, wide bool, in label) error {
	const trailer = 4 // Adler-32
	last, head := off+s.size, 12
	if wide {
		head = 24
	}
	if s.packed && s.size > int64(head+2+trailer) {
		b, err := p.read(off, head+2)
		if err != nil {
			return err
		}
		size := int64(order.Uint32(b[4:]))
		if wide {
			size = int64(order.Uint64(b[8:]))
		}
		if z := b[head:]; order.Uint32(b) == 1 && size >= 0 && z[0]&15 == 8 && z[1]&0x20 == 0 && (int(z[0])<<8|int(z[1]))%31 == 0 {
			start := off + int64(head) + 2
			if err := p.gap(off, start, in, "packed"); err != nil {
				return err
			}
			if err := p.add(item{off: start, data: last - trailer - start, size: size, deflated: true}, in, false); err != nil {
				return err
			}
			return p.gap(last-trailer, last, in, "sum")
		}
	}
	return p.add(item{off: off, data: s.size}, in, false)
}
