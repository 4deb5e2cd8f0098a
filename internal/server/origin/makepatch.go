package origin

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/ropeway/ropeway/internal/delta/patch"
	"github.com/ropeway/ropeway/internal/plan"
)

// patchSources is what a patch is made of.
type patchSources struct {
	olds, news []plan.File
	open, read func(*plan.File) (source, error)
}

// makePatch writes the patch as it stands in a plan: its head, then its windows,
// each behind its length.
func makePatch(ctx context.Context, s patchSources, out io.Writer, work func(int64)) error {
	tick := func(n int64) error { work(n); return ctx.Err() }
	p, err := patch.New(ctx, patchTree(s.olds, s.open), patchTree(s.news, s.read), patch.Options{Tick: tick})
	if err != nil {
		return err
	}
	defer p.Close()
	if err := behindLength(out, p.Head()); err != nil {
		return err
	}
	for i := range p.Windows() {
		w, err := p.Window(ctx, i)
		if err == nil {
			err = behindLength(out, w.Coded)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func behindLength(out io.Writer, b []byte) error {
	_, err := out.Write(binary.AppendUvarint(nil, uint64(len(b))))
	if err == nil {
		_, err = out.Write(b)
	}
	return err
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
