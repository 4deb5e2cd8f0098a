package job

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/ropeway/ropeway/internal/delta/twolevel"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/wire"
)

// difference gets what turns old into a new version and applies it.
type difference struct {
	c       *content
	ref     wire.DeltaRef
	old     io.ReaderAt
	oldSize int64
	size    int64 // of the new version
	block   int   // of the first signature
	odds    int
	weight  float64
	write   func(p []byte, off int64) error

	next int64 // the parts up to here are had or on their way
	wg   sync.WaitGroup

	mu      sync.Mutex // guards below until exchange returns
	literal int64      // bytes that were not copied
	wrote   bool
	err     error
}

// get does the exchange when its turn comes.
func (d *difference) get(ctx context.Context) error {
	if !d.begin(ctx) {
		return context.Cause(ctx)
	}
	defer d.end()
	return d.exchange(ctx)
}

// exchange signs, asks, and once more if the sender wants to know more. It
// returns when all parts are applied. Only a full disk ends the attempt.
func (d *difference) exchange(ctx context.Context) error {
	defer d.wg.Wait()
	ranges, gaps := []twolevel.Range{{Off: 0, Len: d.oldSize}}, d.size
	for look := 1; ; look++ {
		refine, err := d.look(ctx, ranges, gaps)
		if err != nil {
			return err
		}
		if refine == nil {
			break
		}
		if look == 2 {
			return errors.New("asked for a third signature")
		}
		if ranges, err = twolevel.ParseRanges(refine.Ranges, d.oldSize); err != nil {
			return err
		}
		gaps, d.ref.State = refine.Gaps, refine.State
		d.block, d.odds = twolevel.Second(twolevel.Total(ranges), d.oldSize, d.weight), twolevel.OddsSecond
	}
	d.wg.Wait()
	return d.err
}

// maxTries bounds the attempts to get an answer.
const maxTries = 5

// look sends a signature of ranges and has the answer's parts fetched.
func (d *difference) look(ctx context.Context, ranges []twolevel.Range, gaps int64) (refine *wire.Refine, err error) {
	var seed twolevel.Seed
	_, _ = rand.Read(seed[:]) // it never fails
	sig, err := twolevel.Sign(d.old, ranges, d.block, gaps, d.odds, seed, func(int64) error { return context.Cause(ctx) })
	if err != nil {
		return nil, err
	}
	body := sig.Marshal()
	tries := 0
	err = d.c.j.pool.Do(ctx, "difference", func(ctx context.Context, l fetch.Lane, alive func()) error {
		if tries++; tries > maxTries { // all else can still be had
			return fault.New(fault.Other, "", "no whole answer in %d attempts", maxTries)
		}
		var err error
		refine, err = d.ask(ctx, l.(*link), body, alive)
		return err
	})
	return refine, err
}

// ask asks on one lane.
func (d *difference) ask(ctx context.Context, l *link, body []byte, alive func()) (*wire.Refine, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ref := d.ref
	ref.Span = l.from.span(ref.Span)
	req, err := l.request(ctx, http.MethodPost, "delta", ref.Query(), &pulse{r: bytes.NewReader(body), beat: alive})
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(body))
	resp, err := l.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	bad := func(err error) error { return fault.Wrap(fault.Incompatible, err, "", "difference") }
	var (
		refine *wire.Refine
		done   int64 // what the sender has passed
		in     = bufio.NewReaderSize(resp.Body, 16<<10)
	)
	for {
		kind, payload, err := wire.ReadFrame(in)
		if err != nil {
			if errors.Is(err, wire.ErrFrame) {
				return nil, bad(err)
			}
			return nil, fmt.Errorf("difference ended early: %w", err)
		}
		switch kind {
		case wire.KindWork:
			var w wire.Work
			if err := w.Unmarshal(payload); err != nil {
				return nil, bad(err)
			}
			if w.Bytes > done {
				done = w.Bytes
				alive()
			}
		case wire.KindPart:
			var p wire.Part
			if err := p.Unmarshal(payload); err != nil {
				return nil, bad(err)
			}
			alive()
			if err := d.part(&p); err != nil {
				return nil, err
			}
		case wire.KindRefine:
			refine = &wire.Refine{}
			if err := refine.Unmarshal(payload); err != nil {
				return nil, bad(err)
			}
		case wire.KindFail:
			var f wire.Fail
			if err := f.Unmarshal(payload); err != nil {
				return nil, bad(err)
			}
			return nil, fault.New(fault.Other, "", "server: %s", clean(f.Text))
		case wire.KindDone:
			return refine, nil
		default:
			return nil, bad(fmt.Errorf("%w: %q", errFrame, byte(kind)))
		}
	}
}

// part has a part fetched and applied, unless an earlier answer brought it.
func (d *difference) part(p *wire.Part) error {
	switch {
	case p.Off < d.next:
		return nil
	case p.Off > d.next, p.Len > d.size-p.Off, p.Object.Size > twolevel.MaxPart:
		return fault.New(fault.Incompatible, "", "impossible part of a difference")
	}
	d.next += p.Len
	d.wg.Add(1)
	if len(p.Data) > 0 {
		go d.apply(p, bytes.NewReader(p.Data))
		return nil
	}
	staged, err := d.c.j.area.Object(p.Object.ID, p.Object.Size)
	if err != nil {
		d.failed(err)
		d.wg.Done()
		return err
	}
	arrived := func(err error) {
		if err != nil {
			_ = staged.Close()
			d.failed(err)
			d.wg.Done()
			return
		}
		d.apply(p, io.NewSectionReader(staged, 0, p.Object.Size))
		_ = staged.Discard()
	}
	have, held, err := present(staged, &p.Object, 0)
	if err == nil && held == p.Object.Size {
		go arrived(nil)
		return nil
	}
	if err == nil {
		err = d.c.j.pool.Add(d.c.ctx, fetch.Task{
			Object: p.Object, Have: have,
			Write: func(b int, data []byte) error {
				_, err := staged.WriteAt(data, int64(b)*digest.BlockSize)
				return err
			},
			Done: func(err error) { go arrived(err) },
		})
	}
	if err != nil {
		arrived(err)
	}
	return err
}

// apply applies a part that has arrived.
func (d *difference) apply(p *wire.Part, r io.Reader) {
	defer d.wg.Done()
	d.c.unpack <- struct{}{}
	defer func() { <-d.c.unpack }()
	var full error
	n, err := twolevel.Apply(r, p.Off, p.Len, d.old, func(b []byte, off int64) error {
		full = d.write(b, off)
		return full
	})
	if full != nil {
		d.c.fail(full)
	}
	d.failed(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.literal += n
	d.wrote = true
}

func (d *difference) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
}
