package origin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/ropeway/ropeway/internal/delta/twolevel"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

const (
	// maxDeltas bounds the differences that are made at once, for one module:
	// each takes up to 16 MiB.
	maxDeltas = 4
	// maxWaiting bounds the requests for differences, each of which may have
	// brought a signature.
	maxWaiting = 64
	// A difference must leave out so many percent of the content to be worth it.
	worthFile, worthPack = 10, 30
)

var errNotWorth = errors.New("a difference would not pay")

// delta answers with the difference between a file, or a pack, and what the
// client has signed.
func (o *Origin) delta(w http.ResponseWriter, r *http.Request) {
	ref, err := wire.ParseDeltaRef(r.URL.Query())
	if err != nil {
		Refuse(w, fault.Wrap(fault.Usage, err, "", "difference"))
		return
	}
	h := w.Header()
	h.Set("Content-Type", wire.DeltaType)
	h.Set("Cache-Control", "no-store")
	a := &deltaAnswer{o: o, ref: ref, w: w, rc: http.NewResponseController(w), ctx: r.Context(), wrote: time.Now()}
	select {
	case o.waiting <- struct{}{}:
		defer func() { <-o.waiting }()
	default: // whole content is there for everybody
		_ = a.frame(wire.KindDone, nil)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxSignature))
	if err != nil {
		Refuse(w, fault.Wrap(fault.Usage, err, "", "signature"))
		return
	}
	if a.sig, err = twolevel.ParseSignature(body); err != nil {
		Refuse(w, fault.Wrap(fault.Usage, err, "", "signature"))
		return
	}
	src, size, check, done, err := o.deltaSource(ref)
	if err != nil {
		o.gone(w, err)
		return
	}
	defer done()
	a.src, a.size, a.check = src, size, check
	switch err := a.run(); {
	case err == nil, errors.Is(err, errNotWorth):
		_ = a.frame(wire.KindDone, nil)
	case r.Context().Err() == nil:
		if !errors.Is(err, errGone) && !errors.Is(err, store.ErrGone) {
			o.cfg.Log("difference: %v", err)
		}
		_ = a.frame(wire.KindFail, (&wire.Fail{Class: fault.Other.String(), Text: err.Error()}).Marshal())
	}
}

// deltaSource opens the new version. check tells whether it still is the one
// that was asked for.
func (o *Origin) deltaSource(ref wire.DeltaRef) (src io.ReaderAt, size int64, check func() error, done func(), err error) {
	if ref.Pack.IsZero() {
		f, size, check, err := o.openSpan(ref.Span)
		if err != nil {
			return nil, 0, nil, nil, err
		}
		return f, size, check, func() { _ = f.Close() }, nil
	}
	f, err := o.cfg.Store.Objects().Open(o.cfg.Module, ref.Pack)
	if err != nil {
		return nil, 0, nil, nil, err
	}
	defer func() { _ = f.Close() }()
	u := plan.NewUnpacker(io.NewSectionReader(f, 0, f.Size()))
	defer u.Close()
	raw, err := io.ReadAll(u) // a pack is bounded
	if err != nil {
		return nil, 0, nil, nil, errGone // another kind of object
	}
	return bytes.NewReader(raw), int64(len(raw)), func() error { return nil }, func() {}, nil
}

// deltaAnswer is one answer under way.
type deltaAnswer struct {
	o      *Origin
	ref    wire.DeltaRef
	sig    *twolevel.Signature
	src    io.ReaderAt
	size   int64
	check  func() error
	ctx    context.Context
	w      io.Writer
	rc     *http.ResponseController
	wrote  time.Time // when the last frame was
	work   wire.Work
	inline int
}

func (a *deltaAnswer) frame(k wire.Kind, payload []byte) error {
	_ = a.rc.SetWriteDeadline(time.Now().Add(writeStall))
	a.wrote = time.Now()
	if err := wire.WriteFrame(a.w, k, payload); err != nil {
		return err
	}
	return a.rc.Flush()
}

// tick shows that the work goes on.
func (a *deltaAnswer) tick(n int64) error {
	a.work.Bytes += n
	if err := context.Cause(a.ctx); err != nil {
		return err
	}
	if time.Since(a.wrote) < time.Second {
		return nil
	}
	return a.frame(wire.KindWork, a.work.Marshal())
}

func (a *deltaAnswer) run() error {
	if err := a.turn(); err != nil {
		return err
	}
	defer func() { <-a.o.deltas }()
	var copies []twolevel.Copy
	if !a.ref.State.IsZero() {
		state, err := a.state()
		if err != nil {
			return err
		}
		copies = state
	}
	copies, err := twolevel.Find(a.src, a.size, copies, a.sig, a.tick)
	if err != nil {
		return err
	}
	gaps := twolevel.Total(twolevel.Gaps(a.size, copies))
	if a.ref.State.IsZero() {
		unused := a.sig.Unused(copies, least)
		if a.sig.Refine(gaps, twolevel.Total(unused)) {
			return a.refine(copies, gaps, unused)
		}
	}
	worth := int64(worthFile)
	if !a.ref.Pack.IsZero() {
		worth = worthPack
	}
	if a.size-gaps < a.size/100*worth {
		return errNotWorth
	}
	return twolevel.Encode(a.src, a.size, copies, a.tick, a.part)
}

// least is the length of the ranges that are asked for again.
const least = 512

// turn waits for a free place.
func (a *deltaAnswer) turn() error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case a.o.deltas <- struct{}{}:
			return nil
		case <-t.C:
			if err := a.tick(1); err != nil {
				return err
			}
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		}
	}
}

// refine keeps what was found, and asks for smaller blocks of the rest.
func (a *deltaAnswer) refine(copies []twolevel.Copy, gaps int64, unused []twolevel.Range) error {
	if err := a.check(); err != nil {
		return err
	}
	state := twolevel.MarshalCopies(a.size, copies)
	id := digest.Sum(state)
	if err := a.keep(a.o.cfg.Store.Segments(), id, state); err != nil {
		return err
	}
	return a.frame(wire.KindRefine, (&wire.Refine{State: id, Gaps: gaps, Ranges: twolevel.MarshalRanges(unused)}).Marshal())
}

// state returns what the first look found.
func (a *deltaAnswer) state() ([]twolevel.Copy, error) {
	f, err := a.o.cfg.Store.Segments().Open(a.o.cfg.Module, a.ref.State)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if f.Size() > twolevel.MaxState {
		return nil, twolevel.ErrFormat
	}
	b := make([]byte, f.Size())
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return twolevel.ParseCopies(b, a.size)
}

func (a *deltaAnswer) part(p *twolevel.Part) error {
	if err := a.check(); err != nil {
		return err
	}
	m := wire.Part{Off: p.Off, Len: p.Len}
	if a.inline += len(p.Data); a.inline <= wire.MaxInlinePart {
		m.Data = p.Data
	} else {
		m.Object = digest.NewObject(p.Data)
		if err := a.keep(a.o.cfg.Store.Objects(), m.Object.ID, p.Data); err != nil {
			return err
		}
	}
	return a.frame(wire.KindPart, m.Marshal())
}

func (a *deltaAnswer) keep(spool store.Spool, id digest.Digest, data []byte) error {
	batch := spool.Begin(a.o.cfg.Module, "")
	defer batch.Cancel()
	return errors.Join(batch.Put(id, data), batch.Sync())
}
