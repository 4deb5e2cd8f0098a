package container

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
)

// elfOf makes an ELF file of a section as it is and one that is compressed.
func elfOf(text, debug []byte) []byte {
	const head, entry = 64, 64
	le := binary.LittleEndian
	var packed bytes.Buffer
	chdr := make([]byte, 24)
	le.PutUint32(chdr, 1)
	le.PutUint64(chdr[8:], uint64(len(debug)))
	packed.Write(chdr)
	z, _ := zlib.NewWriterLevel(&packed, 1)
	_, _ = z.Write(debug)
	_ = z.Close()
	names := []byte("\x00.text\x00.debug_info\x00.shstrtab\x00")
	b := make([]byte, head)
	copy(b, "\x7fELF\x02\x01\x01")
	sections := make([]byte, 4*entry)
	add := func(i int, name uint32, kind uint32, flags uint64, content []byte) {
		h := sections[i*entry:]
		le.PutUint32(h, name)
		le.PutUint32(h[4:], kind)
		le.PutUint64(h[8:], flags)
		le.PutUint64(h[24:], uint64(len(b)))
		le.PutUint64(h[32:], uint64(len(content)))
		b = append(b, content...)
	}
	add(1, 1, 1, 6, text)
	add(2, 7, 1, 0x800, packed.Bytes())
	add(3, 19, 3, 0, names)
	le.PutUint64(b[40:], uint64(len(b)))
	le.PutUint16(b[58:], entry)
	le.PutUint16(b[60:], 4)
	le.PutUint16(b[62:], 3)
	return append(b, sections...)
}
