package container

import "slices"

const tarBlock = 512

// isTar reports whether b is a header of a tar archive: its checksum is right
// (POSIX.1-1988, and the sum of signed bytes that older programs make is not
// taken).
func isTar(b []byte) bool {
	want, ok := octal(b[148:156])
	return ok && b[0] != 0 && want == tarSum(b)
}

// tarSum returns the checksum of a header.
func tarSum(b []byte) (n uint64) {
	for i, c := range b[:tarBlock] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		n += uint64(c)
	}
	return n
}

// octal reads a number as programs write it: digits, then spaces or zero bytes.
func octal(b []byte) (n uint64, ok bool) {
	i := 0
	for i < len(b) && b[i] == ' ' {
		i++
	}
	for ; i < len(b) && b[i] >= '0' && b[i] <= '7'; i++ {
		n, ok = n<<3|uint64(b[i]-'0'), true
	}
	return n, ok && (i == len(b) || b[i] == ' ' || b[i] == 0)
}

// tarSize returns the length of the content that follows a header.
func tarSize(b []byte) (int64, bool) {
	switch b[156] {
	case '1', '2', '3', '4', '5', '6':
		return 0, true // these have no content, whatever the header says
	}
	if f := b[124:136]; f[0] == 0x80 {
		n := int64(be64(f[4:]))
		return n, f[1]|f[2]|f[3] == 0 && n >= 0
	}
	n, ok := octal(b[124:136])
	return int64(n), ok
}

// tar parses a tar archive: headers as long as they are valid, then the rest.
// Extended headers (pax, GNU) are members like others.
func (p *parser) tar(off, size int64, in label, depth int) error {
	at, last := off, off+size
	for last-at >= tarBlock {
		b, err := p.read(at, tarBlock)
		if err != nil {
			return err
		}
		n, ok := tarSize(b)
		if !ok || !isTar(b) || n > last-at-tarBlock || p.left < 4 {
			break
		}
		// What an extended header belongs to has the next name.
		it := item{off: at, head: tarBlock, data: n, kind: member}
		mine := in.in(member, slices.Concat(b[:100], b[345:500], b[156:157]))
		at += tarBlock
		if err := p.add(it, mine, false); err != nil {
			return err
		}
		if err := p.content(len(p.items)-1, depth); err != nil {
			return err
		}
		at += n
		pad := min(-n&(tarBlock-1), last-at)
		if pad == 0 {
			continue
		}
		zeros, err := p.read(at, int(pad))
		if err != nil {
			return err
		}
		if pad != -n&(tarBlock-1) || slices.ContainsFunc(zeros, func(c byte) bool { return c != 0 }) {
			break
		}
		if err := p.add(item{off: at, head: uint32(pad), kind: padding}, mine.in(padding, nil), false); err != nil {
			return err
		}
		at += pad
	}
	if at == off {
		return errPlain
	}
	return p.gap(at, last, in, "rest")
}
