package land

import (
	"bytes"
	"context"
	"sync"

	"github.com/ropeway/ropeway/internal/manifest"
)

// ahead passes the list of the new tree through three stages that run beside
// each other: it is read, something is done about each entry, and it is
// written. Reading begins at once.
type ahead struct {
	batches chan []manifest.Record
	cancel  context.CancelFunc
	done    sync.WaitGroup
	err     error // of reading; set before batches is closed
}

const (
	aheadBatch   = 256
	aheadBatches = 128 // some 32,000 entries
)

func (l *landing) readAhead(ctx context.Context) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{batches: make(chan []manifest.Record, aheadBatches), cancel: cancel}
	a.done.Go(func() {
		defer close(a.batches)
		batch := make([]manifest.Record, 0, aheadBatch)
		send := func() error {
			select {
			case a.batches <- batch:
				batch = make([]manifest.Record, 0, aheadBatch)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		a.err = l.eachFinal(ctx, func(r *manifest.Record) error {
			c := *r
			c.Ext = bytes.Clone(r.Ext)
			if batch = append(batch, c); len(batch) == aheadBatch {
				return send()
			}
			return nil
		})
		if a.err == nil {
			a.err = send()
		}
	})
	return a
}

// stop ends the reading.
func (a *ahead) stop() {
	a.cancel()
	a.done.Wait()
}

// each calls look for every entry, and put for it afterwards, each on one
// goroutine of its own.
func (a *ahead) each(look func(r *manifest.Record), put func(r *manifest.Record) error) error {
	looked := make(chan []manifest.Record, aheadBatches/8)
	var writing sync.WaitGroup
	var failed error
	writing.Go(func() {
		for batch := range looked {
			for i := range batch {
				if failed == nil {
					failed = put(&batch[i])
				}
			}
		}
	})
	for batch := range a.batches {
		for i := range batch {
			look(&batch[i])
		}
		looked <- batch
	}
	close(looked)
	writing.Wait()
	if failed != nil {
		return failed
	}
	return a.err
}
