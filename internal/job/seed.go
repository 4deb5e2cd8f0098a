package job

import (
	"github.com/ropeway/ropeway/internal/digest"
)

// Where no difference is asked for, because the link is too fast for one to
// pay, the destination's own version of a file still gives what stands in the
// same place in both: databases, disk images and archives that are changed in
// place, logs that grew. It costs reading it once, and no byte on the link.

// barren is how many blocks in a row are compared in vain before a version is
// given up.
const barren = 4 * digest.SpanBlocks

// seed opens what the destination has of the file.
func (f *spanFile) seed() {
	old, size, err := f.c.older(f.path)
	if err != nil {
		return
	}
	if size < digest.BlockSize {
		_ = old.Close()
		return
	}
	f.old = old
}

// sow copies the blocks of a span that the destination's version has in the
// same place, each verified.
func (f *spanFile) sow(o *digest.Object, have []bool, held int64) ([]bool, int64, error) {
	bp, _ := blocks.Get().(*[]byte)
	defer blocks.Put(bp)
	if have == nil {
		have = make([]bool, o.NumBlocks())
	}
	for i := range have {
		if have[i] || f.vain >= barren {
			continue
		}
		off := o.Offset + int64(i)*digest.BlockSize
		b := (*bp)[:o.BlockLen(i)]
		if n, _ := f.old.ReadAt(b, off); n < len(b) || !o.VerifyBlock(i, b) {
			f.vain++
			continue
		}
		f.vain = 0
		if err := f.draft(b, off); err != nil {
			return have, held, err
		}
		have[i] = true
		held += int64(len(b))
	}
	return have, held, nil
}

// reap closes what seed opened.
func (f *spanFile) reap() {
	if f.old != nil {
		_ = f.old.Close()
	}
}
