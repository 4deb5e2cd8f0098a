package job

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/land"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/wire"
)

// A plan may have a patch: one stream that makes changed files of what the
// destination has, because the sender has that, too. What it makes is verified
// file by file. When it does not apply, the plan is asked for again without.

// patching says what the sender may do.
func (j *job) patching() wire.Patching {
	switch {
	case j.o.Whole || j.o.DryRun || j.unpatched.Load():
		return wire.PatchNever
	case j.o.MinBytes:
		return wire.PatchAlways
	}
	return wire.PatchPays
}

// patched is the patch of an attempt and the files that it makes.
type patched struct {
	members []member
	bytes   int64 // of members
	counted int64
	pieces  []*land.Staged
	left    atomic.Int64 // pieces that have not arrived
	failed  atomic.Bool
}

// patch asks for the plan's patch.
func (c *content) patch(ctx context.Context, n *plan.PatchNote) error {
	p := &c.patched
	if c.j.o.DryRun || len(p.members) == 0 {
		return nil
	}
	c.wg.Add(1)
	if len(n.Data) > 0 {
		c.diffs.Go(func() { c.remakeAll(bytes.NewReader(n.Data), int64(len(n.Data))) })
		return nil
	}
	p.left.Store(int64(len(n.Objects)) + 1)
	size := n.Size()
	var mu sync.Mutex
	share := func(k int64) {
		mu.Lock()
		defer mu.Unlock()
		part := min(int64(float64(p.bytes)*(float64(k)/float64(size))), p.bytes-p.counted)
		p.counted += part
		c.wrote(part)
	}
	arrived := func(err error) {
		if err != nil {
			p.failed.Store(true)
		}
		if p.left.Add(-1) > 0 {
			return
		}
		go c.piecedTogether(size)
	}
	for i := range n.Objects {
		staged, err := c.j.area.Object(n.Objects[i].ID, n.Objects[i].Size)
		if err == nil {
			p.pieces = append(p.pieces, staged)
			err = c.piece(ctx, &n.Objects[i], staged, share, arrived)
		}
		if err != nil {
			for range len(n.Objects) - i {
				arrived(err)
			}
			break
		}
	}
	arrived(nil)
	return nil
}

// piece has one object of a patch fetched.
func (c *content) piece(ctx context.Context, o *digest.Object, staged *land.Staged, share func(int64), arrived func(error)) error {
	have, held, err := present(staged, o, 0)
	if err != nil {
		return err
	}
	share(held)
	if held == o.Size {
		arrived(nil)
		return nil
	}
	return c.j.pool.Add(ctx, fetch.Task{
		Object: *o, Have: have,
		Write: func(b int, data []byte) error {
			_, err := staged.WriteAt(data, int64(b)*digest.BlockSize)
			share(int64(len(data)))
			return err
		},
		Done: arrived,
	})
}

// piecedTogether applies a patch that has arrived.
func (c *content) piecedTogether(size int64) {
	p := &c.patched
	if p.failed.Load() {
		for _, s := range p.pieces {
			_ = s.Close()
		}
		c.unpatch(errors.New("it is gone"))
		c.wg.Done()
		return
	}
	c.remakeAll(&pieces{p.pieces}, size)
	for _, s := range p.pieces {
		_ = s.Discard()
	}
}

// pieces reads objects that follow each other, each but the last of
// digest.SpanSize.
type pieces struct{ all []*land.Staged }

func (r *pieces) ReadAt(b []byte, off int64) (n int, err error) {
	for len(b) > 0 {
		i := off / digest.SpanSize
		if i >= int64(len(r.all)) {
			return n, io.EOF
		}
		at := off % digest.SpanSize
		part := b[:min(int64(len(b)), digest.SpanSize-at)]
		k, err := r.all[i].ReadAt(part, at)
		n, off, b = n+k, off+int64(k), b[k:]
		if err != nil && (k == 0 || !errors.Is(err, io.EOF)) {
			return n, err
		}
	}
	return n, nil
}

// unpatch has the plan asked for again, without a patch: what it should have
// made is missing.
func (c *content) unpatch(err error) {
	c.j.o.Log("the patch does not apply: %v", err)
	c.j.unpatched.Store(true)
	for i := range c.patched.members {
		if m := &c.patched.members[i]; m.ready != nil {
			c.lost(m.entry.Path)
		}
	}
}
