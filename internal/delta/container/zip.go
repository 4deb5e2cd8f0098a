package container

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	localLen   = 30
	centralLen = 46
	endLen     = 22
	end64Len   = 56
	locatorLen = 20
	maxComment = 1<<16 - 1
)

// zipEntry is what the central directory says of an entry.
type zipEntry struct {
	off         int64 // of its local header
	csize, size int64
	record      int // offset of its record in the directory
	name        int // length of its name
	item        int32
	method      uint16
	flags       uint16
}

// zip parses a zip archive (APPNOTE.TXT 6.3.10) that ends at off+size. Whatever
// lies between the things that the directory names is plain: stubs before the
// archive, signing blocks, alignment.
func (p *parser) zip(off, size int64, in label, depth int) error {
	e, err := p.zipEnd(off, size)
	if err != nil {
		return err
	}
	if p.directory < int(e.dirSize) {
		return errPlain
	}
	p.directory -= int(e.dirSize)
	dir, err := p.read(e.dirOff, int(e.dirSize))
	if err != nil {
		return err
	}
	entries, err := zipEntries(dir, e.base, e.dirOff, p.left)
	if err != nil {
		return err
	}
	// Local headers in the order in which they lie.
	order := make([]int32, len(entries))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		switch x, y := entries[a].off, entries[b].off; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	if err := p.gap(off, e.base, in, "stub"); err != nil {
		return err
	}
	if err := p.add(item{off: e.base, kind: open}, in.in(open, nil), false); err != nil {
		return err
	}
	at := e.base
	for i, k := range order {
		next := e.dirOff
		if i+1 < len(order) {
			next = entries[order[i+1]].off
		}
		ent := &entries[k]
		if err := p.gap(at, ent.off, in, "before"); err != nil { // only of the first
			return err
		}
		name := dir[ent.record+centralLen:][:ent.name]
		if err := p.zipLocal(ent, name, next, in, depth); err != nil {
			return err
		}
		at = next
	}
	if err := p.gap(at, e.dirOff, in, "before"); err != nil {
		return err
	}
	for i := range entries {
		ent := &entries[i]
		last := len(dir)
		if i+1 < len(entries) {
			last = entries[i+1].record
		}
		c := item{off: e.dirOff + int64(ent.record), head: uint32(last - ent.record), kind: central, link: ent.item}
		if err := p.add(c, p.items[ent.item].label().in(central, nil), false); err != nil {
			return err
		}
	}
	if err := p.gap(e.dirOff+e.dirSize, e.off, in, "signature"); err != nil {
		return err
	}
	return p.add(item{off: e.off, head: uint32(off + size - e.off), kind: end}, in.in(end, nil), false)
}

// zipEnd is the end of a zip archive.
type zipEnd struct {
	off             int64 // of the first of its records
	dirOff, dirSize int64
	base            int64 // from where offsets count
}

// zipEnd finds the end of the archive, which is that of the region.
func (p *parser) zipEnd(off, size int64) (zipEnd, error) {
	var e zipEnd
	tail, err := p.read(off+size-min(size, endLen+maxComment), int(min(size, endLen+maxComment)))
	if err != nil {
		return e, err
	}
	at := len(tail) - endLen
	for ; at >= 0; at-- {
		if string(tail[at:at+4]) == "PK\x05\x06" && int(le16(tail[at+20:])) == len(tail)-at-endLen {
			break
		}
	}
	if at < 0 {
		return e, errPlain
	}
	b := tail[at:]
	e.off = off + size - int64(len(b))
	e.dirSize, e.dirOff = int64(le32(b[12:])), int64(le32(b[16:]))
	if n := end64Len + locatorLen; e.off-off >= int64(n) {
		z, err := p.read(e.off-int64(n), n)
		if err != nil {
			return e, err
		}
		if string(z[:4]) == "PK\x06\x06" && le64(z[4:]) == end64Len-12 && string(z[end64Len:][:4]) == "PK\x06\x07" {
			e.off -= int64(n)
			e.dirSize, e.dirOff = int64(le64(z[40:])), int64(le64(z[48:]))
		}
	}
	if e.dirSize < 0 || e.dirOff < 0 || e.dirSize > MaxDirectory || e.dirSize > e.off-off {
		return e, errPlain
	}
	// The directory lies before its end; if its offset says otherwise, then
	// something has been put before the archive.
	e.base = e.off - e.dirSize - e.dirOff
	if e.base > off || e.base < off {
		var b [4]byte
		if n, _ := p.file.ReadAt(b[:], off+e.dirOff); e.dirOff < e.off-off && n == 4 && string(b[:]) == "PK\x01\x02" && e.dirOff+e.dirSize <= e.off-off {
			e.base = off // bytes lie between the directory and its end
		}
	}
	e.dirOff += e.base
	if e.base < off || e.dirOff > e.off {
		return e, errPlain
	}
	return e, nil
}

// zipEntries reads the central directory.
func zipEntries(dir []byte, base, dirOff int64, most int) ([]zipEntry, error) {
	var all []zipEntry
	for at := 0; at < len(dir); {
		b := dir[at:]
		if len(b) < centralLen || string(b[:4]) != "PK\x01\x02" || len(all) >= most {
			return nil, errPlain
		}
		n, x, c := int(le16(b[28:])), int(le16(b[30:])), int(le16(b[32:]))
		if len(b) < centralLen+n+x+c {
			return nil, errPlain
		}
		e := zipEntry{
			off: int64(le32(b[42:])), csize: int64(le32(b[20:])), size: int64(le32(b[24:])),
			record: at, name: n, method: le16(b[10:]), flags: le16(b[8:]),
		}
		zip64(&e, b[centralLen+n:][:x])
		e.off += base
		if e.off < base || e.csize < 0 || e.size < 0 || e.off > dirOff-localLen || e.csize > dirOff-localLen-e.off {
			return nil, errPlain
		}
		all = append(all, e)
		at += centralLen + n + x + c
	}
	return all, nil
}

// zip64 takes what did not fit in the record from its extra fields.
func zip64(e *zipEntry, extra []byte) {
	for len(extra) >= 4 {
		id, n := le16(extra), int(le16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			return
		}
		if id == 1 {
			b := extra[:n]
			for _, v := range []*int64{&e.size, &e.csize, &e.off} {
				if *v == 0xffffffff && len(b) >= 8 {
					*v, b = int64(le64(b)), b[8:]
				}
			}
		}
		extra = extra[n:]
	}
}

// zipLocal adds an entry, which ends at next: its header, its content, its
// descriptor.
func (p *parser) zipLocal(e *zipEntry, name []byte, next int64, in label, depth int) error {
	h, err := p.read(e.off, localLen)
	if err != nil {
		return err
	}
	if string(h[:4]) != "PK\x03\x04" || le16(h[8:]) != e.method {
		return errPlain
	}
	head := localLen + int64(le16(h[26:])) + int64(le16(h[28:]))
	last := e.off + head + e.csize
	if last > next {
		return errPlain // entries that overlap
	}
	it := item{off: e.off, head: uint32(head), data: e.csize, kind: local}
	at := in.in(local, name)
	e.item = int32(len(p.items))
	encrypted := e.flags&1 != 0
	if e.method == 8 && !encrypted {
		it.deflated, it.size = true, e.size
	}
	if err := p.add(it, at, false); err != nil {
		return err
	}
	if e.method == 0 && !encrypted {
		if err := p.content(int(e.item), depth); err != nil {
			return err
		}
	}
	if le16(h[6:])&8 != 0 {
		n, err := p.descriptor(last, next)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := p.add(item{off: last, head: uint32(n), kind: trailer}, at.in(trailer, nil), false); err != nil {
				return err
			}
			last += int64(n)
		}
	}
	return p.gap(last, next, at, "after")
}

// descriptor returns the length of the data descriptor at off: 0 if there is
// none before next.
func (p *parser) descriptor(off, next int64) (int, error) {
	n := int(min(next-off, 24))
	if n < 12 {
		return 0, nil
	}
	b, err := p.read(off, n)
	if err != nil {
		return 0, err
	}
	signed := bytes.HasPrefix(b, []byte("PK\x07\x08"))
	switch {
	case next-off == 20, next-off == 24, next-off == 12, next-off == 16:
		return n, nil
	case signed && n == 24 && le32(b[12:]) == 0 && le32(b[20:]) == 0 && le32(b[8:]) != 0:
		return 24, nil
	case signed:
		return 16, nil
	}
	return 0, nil
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
