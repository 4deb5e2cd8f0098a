package origin

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/ropeway/ropeway/internal/delta/patch"
	"github.com/ropeway/ropeway/internal/plan"
)

// patchSources is what a patch is made of.
type patchSources struct {
	olds, news []plan.File
	open, read func(*plan.File) (source, error)
}

// makePatch makes the patch as it stands in a plan: its head, then its windows,
// each behind its length.
func makePatch(ctx context.Context, s patchSources, work func(int64)) ([]byte, error) {
	p, err := patch.New(ctx, patchTree(s.olds, s.open), patchTree(s.news, s.read), patch.Options{Tick: func(n int64) error { work(n); return ctx.Err() }})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	out := behindLength(nil, p.Head())
	for i := range p.Windows() {
		w, err := p.Window(ctx, i)
		if err != nil {
			return nil, err
		}
		if out = behindLength(out, w.Coded); len(out) > plan.MaxPatch {
			return nil, fmt.Errorf("a patch of more than %d bytes", plan.MaxPatch)
		}
	}
	return out, nil
}

func behindLength(out, b []byte) []byte {
	return append(binary.AppendUvarint(out, uint64(len(b))), b...)
}

func patchTree(files []plan.File, open func(*plan.File) (source, error)) patch.Tree {
	t := patch.Tree{Files: make([]patch.File, len(files))}
	at := make(map[string]*plan.File, len(files))
	for i := range files {
		f := &files[i]
		t.Files[i] = patch.File{Path: f.Path, Size: f.Size, Digest: f.Digest}
		at[f.Path] = f
	}
	t.Open = func(path string) (patch.Source, error) {
		f := at[path]
		if f == nil {
			return nil, fmt.Errorf("no file %q in a patch", path)
		}
		return open(f)
	}
	return t
}
