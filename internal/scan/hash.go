package scan

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

const hashBuffer = 2 * digest.BlockSize

// Hasher reads files for their digests. The zero value is ready for use; it is
// safe for concurrent use and keeps its buffers between files.
type Hasher struct {
	// Progress, if set, is told of each run of bytes read, from whatever
	// goroutine reads. It must not be changed while files are read.
	Progress func(bytes int64)

	buffers sync.Pool
}

// File reads f, from its start, and returns its digest. The file must have the
// Stat want before and after; otherwise File fails with ErrChanged. It stops
// with ctx.
func (h *Hasher) File(ctx context.Context, f *os.File, want manifest.Stat) (digest.Digest, error) {
	before, err := fileInfo(f)
	if err != nil {
		return digest.Digest{}, err
	}
	if StatOf(before) != want {
		return digest.Digest{}, ErrChanged
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return digest.Digest{}, err
	}
	buf, _ := h.buffers.Get().(*[hashBuffer]byte)
	if buf == nil {
		buf = new([hashBuffer]byte)
	}
	defer h.buffers.Put(buf)
	d, n, err := digest.SumReader(&reader{ctx: ctx, f: f, left: want.Size, progress: h.Progress}, buf[:])
	if err != nil {
		return digest.Digest{}, err
	}
	after, err := fileInfo(f)
	if err != nil {
		return digest.Digest{}, err
	}
	if StatOf(after) != want || n != want.Size {
		return digest.Digest{}, ErrChanged
	}
	return d, nil
}

// reader reads a file of a known size. It ends with ErrChanged as soon as the
// file proves to be larger, so that a growing log is not read for ever.
type reader struct {
	ctx      context.Context
	f        *os.File
	left     int64
	progress func(int64)
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.f.Read(b)
	if r.left -= int64(n); r.left < 0 {
		return 0, ErrChanged
	}
	if n > 0 && r.progress != nil {
		r.progress(int64(n))
	}
	return n, err
}
