package container

import (
	"encoding/binary"
	"fmt"
)

// A header is taken apart into a template, which few headers of an archive do
// not share, a name, and numbers. The template is the header without the name
// and with zeros for the numbers; where those stand follows from the template.

// form is how a number is written.
type form uint8

const (
	le form = iota // little-endian, width bytes
	octal11
	octal6
	base256
)

// field is a number of a header.
type field struct {
	off   uint16
	width uint8
	form  form
	col   uint8
}

// maxHead bounds a header, in bytes: a record of a central directory, with its
// name, its extra fields and its comment.
const maxHead = centralLen + 3*(1<<16-1)

// fieldsOf appends the numbers of a header of a kind to fs; t is its template or
// its header without the name. It fails if t is no such header.
func fieldsOf(fs []field, k kind, t []byte) ([]field, bool) {
	switch k {
	case local:
		if len(t) < localLen || len(t) != localLen+int(le16(t[28:])) {
			return fs, false
		}
		fs = append(fs, field{10, 4, le, colLocalTime}, field{14, 4, le, colLocalCRC}, field{18, 4, le, colLocalCSize}, field{22, 4, le, colLocalSize})
		return extraFields(fs, t, localLen, len(t), [4]uint8{colLocalUnix, colLocalUnix2, colLocalNTFS, colLocal64}), true
	case central:
		if len(t) < centralLen || len(t) != centralLen+int(le16(t[30:]))+int(le16(t[32:])) {
			return fs, false
		}
		fs = append(fs, field{12, 4, le, colCentralTime}, field{16, 4, le, colCentralCRC}, field{20, 4, le, colCentralCSize},
			field{24, 4, le, colCentralSize}, field{42, 4, le, colCentralOff})
		return extraFields(fs, t, centralLen, centralLen+int(le16(t[30:])), [4]uint8{colCentralUnix, colCentralUnix2, colCentralNTFS, colCentral64}), true
	case trailer:
		var at uint16 // with a signature it is 16 or 24 bytes
		w := uint8(4)
		switch len(t) {
		case 12:
		case 16:
			at = 4
		case 20:
			w = 8
		case 24:
			at, w = 4, 8
		default:
			return fs, false
		}
		return append(fs, field{at, 4, le, colTrailerCRC}, field{at + 4, w, le, colTrailerCSize}, field{at + 4 + uint16(w), w, le, colTrailerSize}), true
	case end:
		if len(t) < endLen {
			return fs, false
		}
		at := uint16(0)
		if string(t[:4]) == "PK\x06\x06" {
			if at = end64Len + locatorLen; len(t) < int(at)+endLen {
				return fs, false
			}
			fs = append(fs, field{24, 8, le, colEnd64Count}, field{32, 8, le, colEnd64Count2}, field{40, 8, le, colEnd64Size},
				field{48, 8, le, colEnd64Off}, field{end64Len + 8, 8, le, colEnd64At})
		}
		return append(fs, field{at + 8, 2, le, colEndCount}, field{at + 10, 2, le, colEndCount2}, field{at + 12, 4, le, colEndSize}, field{at + 16, 4, le, colEndOff}), true
	case member:
		if len(t) != tarBlock {
			return fs, false
		}
		fs = tarField(fs, t, 124, colTarSize)
		fs = tarField(fs, t, 136, colTarTime)
		if b := t[148:156]; isOctal(b[:6]) && b[6] == 0 && b[7] == ' ' {
			fs = append(fs, field{148, 6, octal6, colTarSum})
		}
		return fs, true
	}
	return fs, false
}

// tarField appends the number in the 12 bytes at off, if it is written in a
// usual form.
func tarField(fs []field, t []byte, off uint16, col uint8) []field {
	b := t[off : off+12]
	switch {
	case isOctal(b[:11]) && (b[11] == 0 || b[11] == ' '):
		return append(fs, field{off, 11, octal11, col})
	case b[0] == 0x80 && b[1]|b[2]|b[3] == 0:
		return append(fs, field{off + 4, 8, base256, col})
	}
	return fs
}

func isOctal(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '7' {
			return false
		}
	}
	return true
}

// extraFields appends the numbers in the extra fields t[at:last]: times of Info-ZIP
// (the first in a column of its own, since the others are of reading), times of
// NTFS, and what zip64 has.
func extraFields(fs []field, t []byte, at, last int, cols [4]uint8) []field {
	for last-at >= 4 && at < 60000 && len(fs) < 64 {
		id, n := le16(t[at:]), int(le16(t[at+2:]))
		if at += 4; n > last-at {
			break
		}
		switch id {
		case 0x5455:
			for i := 1; i+4 <= n && i < 13; i += 4 {
				fs = append(fs, field{uint16(at + i), 4, le, cols[min(i/4, 1)]})
			}
		case 0x000a:
			if n == 32 {
				for i := 8; i < 32; i += 8 {
					fs = append(fs, field{uint16(at + i), 8, le, cols[2]})
				}
			}
		case 1:
			for i := 0; i+8 <= n && i < 24; i += 8 {
				fs = append(fs, field{uint16(at + i), 8, le, cols[3]})
			}
		}
		at += n
	}
	return fs
}

func (f field) get(t []byte) uint64 {
	b := t[f.off : int(f.off)+int(f.width)]
	switch {
	case f.form == octal11 || f.form == octal6:
		v, _ := octal(b) // fieldsOf has looked at the digits
		return v
	case f.form == base256:
		return be64(b)
	case f.width == 2:
		return uint64(le16(b))
	case f.width == 4:
		return uint64(le32(b))
	}
	return le64(b)
}

// put writes v. It fails if v does not fit.
func (f field) put(t []byte, v uint64) bool {
	b := t[f.off : int(f.off)+int(f.width)]
	switch {
	case f.form == octal11 || f.form == octal6:
		if v>>(3*f.width) != 0 {
			return false
		}
		copy(b, fmt.Sprintf("%0*o", len(b), v))
	case f.form == base256:
		binary.BigEndian.PutUint64(b, v)
	case f.width == 8:
		binary.LittleEndian.PutUint64(b, v)
	case v>>(8*f.width) != 0:
		return false
	case f.width == 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	default:
		binary.LittleEndian.PutUint32(b, uint32(v))
	}
	return true
}

// parts is a header taken apart.
type parts struct {
	template []byte
	name     []byte
	fields   []field
	values   []uint64
}

// split takes a header of a kind apart; its buffers are used again by the next.
func (p *parts) split(k kind, head []byte) bool {
	p.template, p.name = p.template[:0], p.name[:0]
	p.fields, p.values = p.fields[:0], p.values[:0]
	switch k {
	case local, central:
		at, size := localLen, 26
		if k == central {
			at, size = centralLen, 28
		}
		if len(head) < at {
			return false
		}
		n := int(le16(head[size:]))
		if len(head) < at+n {
			return false
		}
		p.name = append(p.name, head[at:at+n]...)
		p.template = append(append(p.template, head[:at]...), head[at+n:]...)
		p.template[size], p.template[size+1] = 0, 0
	case member:
		if len(head) != tarBlock {
			return false
		}
		p.template = append(p.template, head...)
		p.name = append(p.name, 0)
		p.name = appendCut(p.name, p.template[:100])
		p.name[0] = byte(len(p.name) - 1)
		if string(head[257:263]) == "ustar\x00" {
			p.name = appendCut(p.name, p.template[345:500])
		}
	default:
		p.template = append(p.template, head...)
	}
	fs, ok := fieldsOf(p.fields, k, p.template)
	p.fields = fs
	if !ok {
		return false
	}
	for _, f := range p.fields {
		p.values = append(p.values, f.get(p.template))
		f.put(p.template, 0)
	}
	return true
}

// appendCut appends b without the zeros at its end, and zeros it.
func appendCut(name, b []byte) []byte {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	name = append(name, b[:n]...)
	clear(b)
	return name
}

// join appends the header that split took apart.
func (p *parts) join(b []byte, k kind) ([]byte, bool) {
	for i, f := range p.fields {
		if !f.put(p.template, p.values[i]) {
			return b, false
		}
	}
	switch k {
	case local, central:
		at, size := localLen, 26
		if k == central {
			at, size = centralLen, 28
		}
		if len(p.name) > 1<<16-1 {
			return b, false
		}
		binary.LittleEndian.PutUint16(p.template[size:], uint16(len(p.name)))
		b = append(b, p.template[:at]...)
		b = append(b, p.name...)
		return append(b, p.template[at:]...), true
	case member:
		if len(p.name) == 0 {
			return b, false
		}
		n := int(p.name[0])
		if n > 100 || n >= len(p.name) || len(p.name)-1-n > 155 {
			return b, false
		}
		copy(p.template, p.name[1:1+n])
		if n+1 < len(p.name) { // the prefix
			copy(p.template[345:500], p.name[1+n:])
		}
	}
	return append(b, p.template...), true
}
