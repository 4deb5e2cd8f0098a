package origin

import (
	"context"
	"crypto/rand"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/wire"
)

// A plan that had no patch, because making one would have taken longer than
// it would have saved, is made once more when the module is idle, for the sake
// of those that have the same and come later.

// wanted is a plan whose patch is to be made ahead.
type wanted struct {
	req  wire.PlanRequest
	base wire.Base
}

// maxAhead bounds the patches that wait to be made.
const maxAhead = 16

// ahead asks for the patch of a plan that had none.
func (c *capture) ahead(w wanted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.patches) >= maxAhead {
		return
	}
	c.patches = append(c.patches, w)
	c.poke()
}

func (c *capture) nextPatch() (wanted, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.patches) == 0 {
		return wanted{}, false
	}
	w := c.patches[0]
	c.patches = c.patches[1:]
	return w, true
}

// makeAhead makes a plan for its patch alone.
func (o *Origin) makeAhead(ctx context.Context, w wanted) error {
	w.req.Job, w.req.From, w.req.Patch, w.req.Fast = rand.Text(), 0, wire.PatchAlways, false
	opts, closer, err := o.scanOptions(&w.req)
	if err != nil {
		return err
	}
	defer closer()
	j := &planJob{o: o, req: w.req, base: &w.base, baseSet: make(chan struct{}), wake: make(chan struct{})}
	close(j.baseSet)
	if old, err := o.cfg.Store.Indexes().Open(j.indexName()); err == nil {
		defer func() { _ = old.Close() }()
		opts.Index = old
	}
	s := plan.Sender{
		Scan: opts, OmitRoot: w.req.OmitRoot,
		List:  func(*manifest.Record) error { return nil },
		Index: func(*manifest.Record) error { return nil },
		Store: func(context.Context, digest.Digest, []byte) error { return nil },
		Emit:  func([]byte) error { return nil },
		Work:  func(string, int64, int64) {},
		Warn:  func(string, string) {},
	}
	j.offerPatch(&s)
	_, err = s.Run(ctx)
	o.cfg.Store.Objects().Release(w.req.Job)
	return err
}
