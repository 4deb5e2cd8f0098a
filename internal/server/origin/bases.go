package origin

import (
	"context"
	"os"
	"sync"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/scan"
	"github.com/ropeway/ropeway/internal/store"
)

// Bases are directories with contents that receivers may have: an older
// release, say. They are read once, and must not change. A nil *Bases has none.
type Bases struct {
	dirs   []*fsys.Dir
	cancel context.CancelFunc
	ready  chan struct{} // closed when all is read
	wg     sync.WaitGroup
	files  map[digest.Digest]baseFile // once ready
	err    error
}

type baseFile struct {
	dir  *fsys.Dir
	path string
}

// OpenBases begins to read directories, which become its own.
func OpenBases(dirs []*fsys.Dir) *Bases {
	ctx, cancel := context.WithCancel(context.Background())
	b := &Bases{dirs: dirs, cancel: cancel, ready: make(chan struct{}), files: map[digest.Digest]baseFile{}}
	b.wg.Go(func() {
		defer close(b.ready)
		for _, d := range dirs {
			_, err := scan.Changes(ctx, scan.Options{Root: d, Recursive: true, Warn: func(string, error) {}}, scan.HashOptions{}, func(r *manifest.Record) error {
				if r.Op == manifest.Put && r.Type == manifest.File && r.Size > 0 {
					b.files[r.Digest] = baseFile{d, r.Path}
				}
				return nil
			})
			if err != nil {
				b.err = err
				return
			}
		}
	})
	return b
}

// Close ends reading and closes the directories.
func (b *Bases) Close() {
	if b == nil {
		return
	}
	b.cancel()
	b.wg.Wait()
	for _, d := range b.dirs {
		_ = d.Close()
	}
}

// wait waits until all is read.
func (b *Bases) wait(ctx context.Context) error {
	if b == nil {
		return nil
	}
	select {
	case <-b.ready:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Bases) has(d digest.Digest) bool {
	if b == nil {
		return false
	}
	select {
	case <-b.ready:
		_, ok := b.files[d]
		return ok
	default:
		return false
	}
}

func (b *Bases) open(d digest.Digest) (*os.File, error) {
	if !b.has(d) {
		return nil, store.ErrGone
	}
	f := b.files[d]
	tree := fsys.NewTree(f.dir)
	defer tree.Close()
	dir, leaf, err := tree.Parent(f.path)
	if err != nil {
		return nil, err
	}
	file, _, err := dir.OpenFile(leaf)
	return file, err
}
