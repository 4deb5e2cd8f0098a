package container

import (
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/ropeway/ropeway/internal/digest"
)

// kind is what an item is. Recipes contain its values.
type kind uint8

const (
	plain   kind = iota // bytes without a header
	local               // zip: a local header and the content of the entry
	trailer             // zip: a data descriptor
	central             // zip: a record of the central directory
	open                // zip: no bytes; offsets in the archive count from here
	end                 // zip: what closes the central directory
	member              // tar: a header and the content of the member
	padding             // tar: zeros up to the next 512
	numKinds
)

// item is a header, a unit behind it, or both. Items follow each other without
// gaps. Where the content is an archive that was opened, its items follow and
// the unit is empty.
type item struct {
	off      int64
	data     int64  // length of the unit, in bytes
	size     int64  // of the content, if the unit is deflated, as its container says
	key      uint64 // equal for things of equal names
	loose    uint64 // equal for things whose names have equal letters
	head     uint32 // length of the header, in bytes
	link     int32  // central: the index of its local item
	kind     kind
	deflated bool
}

func (it *item) dataOff() int64 { return it.off + int64(it.head) }

// Layout is a parsed file. It reads the file again when it needs bytes.
type Layout struct {
	file  io.ReaderAt
	size  int64
	items []item
	sums  func() ([]sum, error) // of all units
}

// sum identifies a unit by its bytes.
type sum [16]byte

// Parse finds the structure of the first size bytes of file, which must not
// change as long as the layout is in use. It reads headers and directories, not
// content, and needs 56 bytes of memory per item. The error is one of reading.
func Parse(file io.ReaderAt, size int64) (*Layout, error) {
	p := &parser{file: file, left: MaxItems, directory: MaxDirectory}
	if err := p.region(0, size, label{}, 0, true); err != nil {
		return nil, err
	}
	return newLayout(file, size, p.items), nil
}

// newLayout returns a layout of the items.
func newLayout(file io.ReaderAt, size int64, items []item) *Layout {
	l := &Layout{file: file, size: size, items: slices.Clip(items)}
	l.sums = sync.OnceValues(l.sum)
	return l
}

// plainLayout returns the layout of a file that is not looked into.
func plainLayout(file io.ReaderAt, size int64) *Layout {
	var items []item
	if size > 0 {
		items = []item{named(item{data: size}, label{}.in(plain, nil))}
	}
	return newLayout(file, size, items)
}

// Size returns the length of the file in bytes.
func (l *Layout) Size() int64 { return l.size }

// Plain reports whether nothing was found to open: the file is a single unit,
// or empty, and a recipe gains nothing over coding it as it is.
func (l *Layout) Plain() bool {
	return len(l.items) == 0 || len(l.items) == 1 && l.items[0].kind == plain && !l.items[0].deflated
}

// sum reads all units.
func (l *Layout) sum() ([]sum, error) {
	all := make([]sum, len(l.items))
	buf := make([]byte, 2*digest.BlockSize)
	for i := range l.items {
		it := &l.items[i]
		if it.data == 0 {
			continue
		}
		d, n, err := digest.SumReader(io.NewSectionReader(l.file, it.dataOff(), it.data), buf)
		if err == nil && n != it.data {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		copy(all[i][:], d[:])
	}
	return all, nil
}

// parser collects the items of a file.
type parser struct {
	file      io.ReaderAt
	items     []item
	left      int // items that may still be added
	directory int // bytes of central directories that may still be read
}

// errPlain says that a region is not what it looked like.
var errPlain = errors.New("not a container")

// region parses size bytes at off: an archive or plain bytes, to which key and
// depth belong. Other formats than archives are only looked for at the top.
func (p *parser) region(off, size int64, at label, depth int, top bool) error {
	if size == 0 {
		return nil
	}
	mark, left, directory := len(p.items), p.left, p.directory
	err := errPlain
	if depth < MaxDepth && size >= 22 {
		err = p.container(off, size, at, depth, top)
	}
	if errors.Is(err, errPlain) {
		p.items, p.left, p.directory = p.items[:mark], left, directory
		return p.add(item{off: off, data: size}, at.in(plain, nil), true)
	}
	return err
}

// container parses what the first and last bytes tell to be one.
func (p *parser) container(off, size int64, at label, depth int, top bool) error {
	var magic [512]byte
	n, err := p.file.ReadAt(magic[:min(size, 512)], off)
	if int64(n) < min(size, 512) {
		return unexpected(err)
	}
	switch {
	case n == 512 && isTar(magic[:]):
		return p.tar(off, size, at, depth)
	case top && string(magic[:4]) == "\x7fELF":
		return p.elf(off, size, at, magic[:])
	case top && string(magic[:3]) == "\x1f\x8b\x08":
		return p.gzip(off, size, at, magic[:n])
	case top || string(magic[:4]) == "PK\x03\x04":
		return p.zip(off, size, at, depth)
	}
	return errPlain
}

// content looks into the content of the last item, of index i.
func (p *parser) content(i, depth int) error {
	it, mark, left := p.items[i], len(p.items), p.left
	if it.data < 512 {
		return nil
	}
	if err := p.region(it.dataOff(), it.data, it.label(), depth+1, false); err != nil {
		return err
	}
	if len(p.items) == mark+1 && p.items[mark].kind == plain {
		p.items, p.left = p.items[:mark], left // nothing to see
	} else {
		p.items[i].data = 0
	}
	return nil
}

// add appends an item. Without room for it the container is plain; for plain
// items that are not inside of one there is always room.
func (p *parser) add(it item, n label, always bool) error {
	if p.left <= 0 && !always {
		return errPlain
	}
	p.left--
	p.items = append(p.items, named(it, n))
	return nil
}

// gap adds the bytes from off to end, if there are any.
func (p *parser) gap(off, end int64, at label, what string) error {
	if off >= end {
		return nil
	}
	return p.add(item{off: off, data: end - off}, at.in(plain, []byte(what)), false)
}

// read returns n bytes at off.
func (p *parser) read(off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	if m, err := p.file.ReadAt(b, off); m < n {
		return nil, unexpected(err)
	}
	return b, nil
}

// unexpected returns an error of reading. The end of the file is unexpected,
// since its size was given.
func unexpected(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// label stands for the path of a thing: the names of the containers that it is
// in, and its own. It only suggests what to compare with.
type label struct{ exact, loose uint64 }

// in returns the name of a thing of a kind in the container n. The loose name is
// that of its letters, so that it does not depend on versions.
func (n label) in(k kind, b []byte) label {
	const prime = 1099511628211 // FNV-1a
	exact, loose := n.exact^14695981039346656037, n.loose^14695981039346656037
	exact, loose = (exact*prime^uint64(k))*prime, (loose*prime^uint64(k))*prime
	for _, c := range b {
		exact = (exact ^ uint64(c)) * prime
		if c >= 'A' && c != '_' || c == '/' || c == '$' {
			loose = (loose ^ uint64(c)) * prime
		}
	}
	return label{exact, loose}
}

func named(it item, n label) item {
	it.key, it.loose = n.exact, n.loose
	return it
}

func (it *item) label() label { return label{it.key, it.loose} }
