package plan

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/scan"
)

// found is an entry that outlives the walk's call.
type found struct {
	manifest.Record
	Known   bool
	hidden  bool          // not an entry: a record that the index is to keep
	trusted manifest.Stat // what the index may keep
}

type warning struct {
	path string
	err  error
}

type batch struct {
	found []found
	warns []warning
}

const (
	batchSize = 256
	// ahead bounds how far the walk runs before the receiver has said what it
	// holds: some 100,000 entries, a few tens of MiB.
	ahead = 400
)

// walker runs the walk beside the sender, so that scanning goes on while the
// receiver looks at its own tree.
type walker struct {
	ch     chan batch
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error // set before ch is closed
	stats  struct{ skipped int64 }
}

func startWalk(ctx context.Context, o *scan.Options) *walker {
	ctx, cancel := context.WithCancel(ctx)
	w := &walker{ch: make(chan batch, ahead), cancel: cancel}
	opts := *o
	var cur batch
	began := time.Now()
	last := began
	send := func() error {
		select {
		case w.ch <- cur:
			cur = batch{found: make([]found, 0, batchSize)}
			last = time.Now()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	opts.Warn = func(path string, err error) {
		cur.warns = append(cur.warns, warning{strings.Clone(path), err})
	}
	opts.Keep = func(r *manifest.Record) error {
		cur.found = append(cur.found, found{Record: own(r), hidden: true})
		return nil
	}
	w.done.Go(func() {
		defer close(w.ch)
		stats, err := scan.Walk(ctx, opts, func(f *scan.Found, _ func() (*os.File, error)) error {
			one := found{Record: own(&f.Record), Known: f.Known}
			if f.Known {
				one.trusted = f.Stat
			} else if f.Type != manifest.File { // files once they are read
				one.trusted = scan.Trust(f.Stat, began, f.Fine)
			}
			cur.found = append(cur.found, one)
			if len(cur.found) >= batchSize || len(cur.warns) >= batchSize || time.Since(last) > keepFor {
				return send()
			}
			return nil
		})
		if err == nil {
			err = send()
		}
		for _, n := range stats.Skipped {
			w.stats.skipped += n
		}
		w.err = err
	})
	return w
}

// own copies what the walk lends.
func own(r *manifest.Record) manifest.Record {
	c := *r
	c.Path, c.Target, c.Ext = strings.Clone(r.Path), strings.Clone(r.Target), nil
	return c
}

// next returns the next batch; io.EOF at the end.
func (w *walker) next(ctx context.Context) (batch, error) {
	select {
	case b, ok := <-w.ch:
		if ok {
			return b, nil
		}
		if w.err != nil {
			return batch{}, w.err
		}
		return batch{}, io.EOF
	case <-ctx.Done():
		return batch{}, ctx.Err()
	}
}

// stop ends the walk and waits for it.
func (w *walker) stop() {
	w.cancel()
	w.done.Wait()
}
