package origin

import (
	"context"

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
	view *view
	base digest.Digest // the tree that receivers have
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
	t := o.newTour(w.view)
	t.scan.Join()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.scan.Run(ctx, func() (plan.Tree, error) { return o.openTree(t) })
	}()
	defer func() { <-done }()
	r := &planRun{o: o, tour: t, base: &wire.Base{Tree: w.base}, pace: pace{patch: wire.PatchAlways}}
	nowhere := func(*manifest.Record) error { return nil }
	s := plan.Sender{
		Scan: t.scan, OmitRoot: t.omitRoot, Digests: o.digests,
		Lists: func() (list, index func(*manifest.Record) error, err error) { return nowhere, nil, nil },
		Store: func(context.Context, digest.Digest, []byte) error { return nil },
		Emit:  func([]byte) error { return nil },
		Work:  func(string, int64, int64) {},
		Warn:  func(string, string) {},
	}
	r.offerPatch(&s)
	_, err := s.Run(ctx)
	return err
}
