package container

import "bytes"

// gzip parses a gzip file (RFC 1952) as if it had a single member; if it has
// more, its stream will not be made again.
func (p *parser) gzip(off, size int64, in label, head []byte) error {
	at, flags := 10, head[3]
	if flags&4 != 0 && len(head) >= at+2 {
		at += 2 + int(le16(head[at:]))
	}
	for _, f := range []byte{8, 16} { // name, comment
		if flags&f == 0 || at > len(head) {
			continue
		}
		n := bytes.IndexByte(head[at:], 0)
		if n < 0 {
			return errPlain
		}
		at += n + 1
	}
	if flags&2 != 0 {
		at += 2
	}
	const trailer = 8
	if flags&0xe0 != 0 || at >= len(head) || int64(at+trailer) >= size {
		return errPlain
	}
	tail, err := p.read(off+size-trailer, trailer)
	if err != nil {
		return err
	}
	if err := p.gap(off, off+int64(at), in, "head"); err != nil {
		return err
	}
	stream := item{off: off + int64(at), data: size - int64(at) - trailer, size: int64(le32(tail[4:])), deflated: true}
	if err := p.add(stream, in.in(plain, nil), false); err != nil {
		return err
	}
	return p.gap(off+size-trailer, off+size, in, "tail")
}
