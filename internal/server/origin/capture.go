package origin

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/scan"
	"github.com/ropeway/ropeway/internal/store"
)

// What a plan has listed is copied into the history when the module is idle, so
// that the next version can be told as what differs from it. While somebody is
// being served, copying goes on at a crawl, so that it ends at all.

const (
	// captureIdle is how long a module must have been quiet.
	captureIdle = 2 * time.Second
	// captureLatest is when a module that never is goes into the history anyway.
	captureLatest = time.Minute
	// capturePiece is what is copied between two looks at who is being served.
	capturePiece = 1 << 20
	// crawl is the pause after each piece while somebody is.
	crawl = 100 * time.Millisecond
	// captureBatch is what is made durable at once, in bytes.
	captureBatch = 64 << 20
)

// capture copies the trees that plans have listed into the history, one after
// the other.
type capture struct {
	o      *Origin
	h      *store.History
	cancel context.CancelFunc
	wg     sync.WaitGroup
	work   sync.Mutex // held to capture

	mu      sync.Mutex // guards below
	queue   []listed
	patches []wanted
	seen    map[string]digest.Digest // the tree that was last captured, by index
	wake    chan struct{}
	active  int       // requests under way
	quiet   time.Time // since there are none
}

// listed is a tree that a view's index lists.
type listed struct {
	view *view
	tree digest.Digest
}

func newCapture(o *Origin, h *store.History) *capture {
	ctx, cancel := context.WithCancel(context.Background())
	c := &capture{o: o, h: h, cancel: cancel, seen: map[string]digest.Digest{}, wake: make(chan struct{}, 1), quiet: time.Now()}
	c.resume()
	c.wg.Go(func() { c.run(ctx) })
	return c
}

// resume asks for what an earlier process may not have come to: the module's
// whole tree, as it was listed last.
func (c *capture) resume() {
	v := &view{name: c.o.cfg.Module + "/"}
	x, err := c.o.cfg.Store.Indexes().Open(v.name)
	if err != nil {
		return // nobody has asked for it yet
	}
	tree := x.Trailer().Tree
	_ = x.Close()
	c.add(listed{view: v, tree: tree})
}

func (c *capture) close() {
	c.cancel()
	c.wg.Wait()
}

// enter tells of a request; the returned function, of its end.
func (c *capture) enter() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.active--; c.active == 0 {
			c.quiet = time.Now()
		}
	}
}

// add asks for a tree to be captured.
func (c *capture) add(l listed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[l.view.name] == l.tree {
		return
	}
	c.seen[l.view.name] = l.tree
	for i := range c.queue {
		if c.queue[i].view.name == l.view.name {
			c.queue[i] = l
			return
		}
	}
	c.queue = append(c.queue, l)
	c.poke()
}

func (c *capture) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *capture) next() (listed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return listed{}, false
	}
	l := c.queue[0]
	c.queue = c.queue[1:]
	return l, true
}

// busy returns how long the module must still be left alone to be idle.
func (c *capture) busy() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active > 0 {
		return captureIdle
	}
	return captureIdle - time.Since(c.quiet)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *capture) run(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		if c.rest(ctx) != nil {
			return
		}
		c.drain(ctx)
	}
}

// drain does all that was asked for.
func (c *capture) drain(ctx context.Context) {
	c.work.Lock()
	defer c.work.Unlock()
	for l, ok := c.next(); ok; l, ok = c.next() {
		n, err := c.tree(ctx, l)
		if err != nil && ctx.Err() == nil {
			c.o.cfg.Log("history: %v", err)
		}
		if err == nil && c.o.cfg.Kept != nil {
			c.o.cfg.Kept(n)
		}
	}
	for w, ok := c.nextPatch(); ok; w, ok = c.nextPatch() {
		if err := c.o.makeAhead(ctx, w); err != nil && ctx.Err() == nil {
			c.o.cfg.Log("patch made ahead: %v", err)
		}
	}
}

// rest waits until the module is idle, or has not been for a minute. Whoever
// just got a plan also gets what it names first.
func (c *capture) rest(ctx context.Context) error {
	began := time.Now()
	for d := captureIdle; d > 0 && time.Since(began) < captureLatest; d = c.busy() {
		if err := pause(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// tree captures the files of one index and returns how many bytes that took.
func (c *capture) tree(ctx context.Context, l listed) (total int64, err error) {
	src, err := c.o.cfg.Store.Indexes().Open(l.view.name)
	if err != nil {
		return 0, nil //nolint:nilerr // another plan has replaced it, and asks again
	}
	defer func() { _ = src.Close() }()
	if src.Trailer().Tree != l.tree {
		return 0, nil
	}
	root, err := l.view.open(c.o)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	tree := fsys.NewTree(root)
	defer tree.Close()
	k := c.h.Begin(c.o.cfg.Module)
	defer func() { _ = k.Close(false) }()
	var kept, batch int64
	var r manifest.Record
	for {
		switch err := src.Next(&r); {
		case errors.Is(err, io.EOF):
			return total, k.Close(true)
		case err != nil:
			return total, err
		}
		if err := ctx.Err(); err != nil {
			return total, err
		}
		if r.Type != manifest.File || r.Size == 0 {
			continue
		}
		// More than there is room for would only push out what was just taken.
		if kept += r.Size; kept > c.h.Room() {
			return total, k.Close(true)
		}
		if c.h.Has(c.o.cfg.Module, r.Digest, r.Size) {
			continue
		}
		before := k.Taken()
		if err := c.file(ctx, tree, k, &r); err != nil {
			return total, err
		}
		taken := k.Taken() - before
		total += taken
		if batch += taken; batch >= captureBatch {
			if err := k.Close(true); err != nil {
				return total, err
			}
			k, batch = c.h.Begin(c.o.cfg.Module), 0
		}
	}
}

// file captures one file, unless it is no longer what was listed.
func (c *capture) file(ctx context.Context, tree *fsys.Tree, k *store.Keeper, r *manifest.Record) error {
	dir, leaf, err := tree.Parent(r.Path)
	if err != nil {
		return nil //nolint:nilerr // gone or closed to us: no history of it
	}
	f, info, err := dir.OpenFile(leaf)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	defer func() { _ = f.Close() }()
	// What cannot be trusted shows when it is copied.
	if info.Size != r.Size || r.Stat != (manifest.Stat{}) && scan.StatOf(info) != r.Stat {
		return nil
	}
	err = k.Keep(r.Digest, r.Size, &patient{c: c, ctx: ctx, f: f})
	if errors.Is(err, store.ErrContent) && ctx.Err() == nil {
		return nil // it changed while it was copied
	}
	return err
}

// patient reads a file and gives way to those who are being served.
type patient struct {
	c   *capture
	ctx context.Context
	f   *os.File
	n   int
}

func (p *patient) Read(b []byte) (int, error) {
	if p.n >= capturePiece {
		p.n = 0
		if p.c.busy() > 0 {
			if err := pause(p.ctx, crawl); err != nil {
				return 0, err
			}
		}
	}
	n, err := p.f.Read(b[:min(len(b), capturePiece)])
	p.n += n
	return n, err
}
