package origin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	// answerRoom bounds what answers hold of what they send, in bytes, except
	// that each may hold leastFrame.
	answerRoom = 48 << 20
	mostFrame  = 1 << 20 // what is compressed at once, and the window
	leastFrame = 16 << 10
	mostPlain  = 128 << 10
)

// room is memory for answers. The less there is, the smaller the parts in
// which answers go out: a thousand slow clients must not need more of it than
// ten fast ones. It is safe for concurrent use.
type room struct{ used atomic.Int64 }

// take returns how many bytes an answer may hold, at most want; give returns
// them.
func (r *room) take(want int64) int64 {
	n := max(leastFrame, min(want, (answerRoom-r.used.Load())/16))
	r.used.Add(n)
	return n
}

func (r *room) give(n int64) { r.used.Add(-n) }

// answer is an object, or a part of one, under way to a client.
type answer struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	body   *io.SectionReader
	at     int64
	check  func() error
	limits *Limits
	ctx    context.Context
	client string
}

// plain sends the next part as it is.
func (a *answer) plain() error {
	n := a.limits.room.take(min(a.body.Size()-a.at, mostPlain))
	defer a.limits.room.give(n)
	buf := make([]byte, min(n, a.body.Size()-a.at))
	if err := a.limits.reads.take(a.ctx, a.client); err != nil {
		return err
	}
	n1, err := a.read(buf)
	a.limits.reads.give()
	if err != nil {
		return err
	}
	return a.write(buf[:n1])
}

// packed sends the next part as a zstd frame.
func (a *answer) packed() error {
	n := a.limits.room.take(min(a.body.Size()-a.at, mostFrame))
	defer a.limits.room.give(n)
	out, err := a.encode(int(min(n, a.body.Size()-a.at)))
	if err != nil {
		return err
	}
	return a.write(out)
}

// encode compresses the next n bytes.
func (a *answer) encode(n int) ([]byte, error) {
	if err := a.limits.reads.take(a.ctx, a.client); err != nil {
		return nil, err
	}
	defer a.limits.reads.give()
	e := <-a.limits.encoders // there is one for each turn
	defer func() { a.limits.encoders <- e }()
	if e.enc == nil {
		e.open()
	}
	if cap(e.in) < n {
		e.in = make([]byte, n)
	}
	got, err := a.read(e.in[:n])
	if err != nil {
		return nil, err
	}
	e.out = e.enc.EncodeAll(e.in[:got], e.out[:0])
	return append(make([]byte, 0, len(e.out)), e.out...), nil
}

func (a *answer) read(b []byte) (int, error) {
	n, err := a.body.ReadAt(b, a.at)
	if n == 0 || err != nil && !errors.Is(err, io.EOF) {
		return 0, errors.Join(io.ErrUnexpectedEOF, err)
	}
	a.at += int64(n)
	return n, a.check()
}

func (a *answer) write(b []byte) error {
	for len(b) > 0 {
		_ = a.rc.SetWriteDeadline(time.Now().Add(writeStall))
		n, err := a.w.Write(b[:min(len(b), 32<<10)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// encoder compresses frames, with its buffers.
type encoder struct {
	enc     *zstd.Encoder
	in, out []byte
}

func (e *encoder) open() {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(mostFrame), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("origin: " + err.Error()) // only for bad options, which these are not
	}
	e.enc = enc
}
