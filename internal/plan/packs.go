package plan

import (
	"context"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/ropeway/ropeway/internal/digest"
)

const (
	// packsOpen is how many packs are compressed at once beside the scan.
	packsOpen = 2
	// maxOpenPacks is how far a record may run ahead of the pack it names.
	maxOpenPacks = packsOpen + 1
	// inlineBudget is how many bytes of packs may stand in the plan itself, so
	// that a small upgrade is one exchange.
	inlineBudget = 128 << 10
)

// packs compresses packs beside the scan and hands them back in order.
type packs struct {
	ctx    context.Context
	store  func(context.Context, digest.Digest, []byte) error
	cur    packer
	queue  []chan packResult // in order of Seq
	ready  []*PackNote       // done, not yet announced
	wg     sync.WaitGroup
	cancel context.CancelFunc
	probe  *zstd.Encoder
	level  zstd.EncoderLevel
	mu     sync.Mutex // guards the rest
	free   []*zstd.Encoder
	bufs   [][]byte // of packs that are done
}

type packResult struct {
	note *PackNote
	err  error
}

func (p *packs) init(ctx context.Context, store func(context.Context, digest.Digest, []byte) error) {
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.store, p.level = store, zstd.SpeedDefault
}

func (p *packs) stop() {
	p.cancel()
	p.wg.Wait()
}

func (p *packs) sample() *zstd.Encoder {
	if p.probe == nil {
		p.probe = newPackEncoder(zstd.SpeedFastest)
	}
	return p.probe
}

// add puts a file into the current pack and says where it is.
func (p *packs) add(ctx context.Context, path string, data []byte) (seq uint64, offset int64, err error) {
	if p.cur.raw == nil {
		p.cur.raw = p.buffer()
	}
	seq, offset = p.cur.seq, p.cur.add(data)
	if p.cur.full(path) {
		err = p.close(ctx, 0)
	}
	return seq, offset, err
}

// close sends the current pack to be compressed; it stands in the plan if it
// takes at most inline bytes.
func (p *packs) close(ctx context.Context, inline int) error {
	if p.cur.members == 0 {
		return nil
	}
	for len(p.queue) >= packsOpen {
		if err := p.settle(ctx); err != nil {
			return err
		}
	}
	raw, seq := p.cur.raw, p.cur.seq
	p.cur = packer{seq: seq + 1}
	ch := make(chan packResult, 1)
	p.queue = append(p.queue, ch)
	p.wg.Go(func() {
		note, err := p.build(seq, raw, inline)
		ch <- packResult{note, err}
	})
	return nil
}

func (p *packs) build(seq uint64, raw []byte, inline int) (*PackNote, error) {
	enc := p.encoder()
	data := encodePack(enc, raw)
	p.mu.Lock()
	p.free = append(p.free, enc)
	p.bufs = append(p.bufs, raw[:0])
	p.mu.Unlock()
	n := &PackNote{Seq: seq, Raw: int64(len(raw)), Object: digest.NewObject(data)}
	if len(data) <= inline {
		n.Data = data
		return n, nil
	}
	return n, p.store(p.ctx, n.Object.ID, data)
}

// buffer returns memory for a pack; that of the first grows as it must.
func (p *packs) buffer() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.bufs); n > 0 {
		b := p.bufs[n-1]
		p.bufs = p.bufs[:n-1]
		return b
	}
	return make([]byte, 0, 64<<10)
}

func (p *packs) encoder() *zstd.Encoder {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		e := p.free[n-1]
		p.free = p.free[:n-1]
		return e
	}
	return newPackEncoder(p.level)
}

// finish closes the last pack.
func (p *packs) finish(inline int) error { return p.close(p.ctx, inline) }

// settle waits for the oldest pack under way.
func (p *packs) settle(ctx context.Context) error {
	select {
	case r := <-p.queue[0]:
		p.queue = p.queue[1:]
		if r.err != nil {
			return r.err
		}
		p.ready = append(p.ready, r.note)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poll returns the next pack if it is ready, else nil.
func (p *packs) poll() (*PackNote, error) {
	if len(p.ready) == 0 && len(p.queue) > 0 && len(p.queue[0]) > 0 {
		if err := p.settle(p.ctx); err != nil {
			return nil, err
		}
	}
	if len(p.ready) == 0 {
		return nil, nil
	}
	n := p.ready[0]
	p.ready = p.ready[1:]
	return n, nil
}

// wait returns the next pack; nil when all have been returned.
func (p *packs) wait(ctx context.Context) (*PackNote, error) {
	if len(p.ready) == 0 && len(p.queue) > 0 {
		if err := p.settle(ctx); err != nil {
			return nil, err
		}
	}
	return p.poll()
}
