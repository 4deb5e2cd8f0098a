package engine

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/delta/patchfile"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
)

// What the runtime tries to stay below, in bytes: it cleans up more often
// rather than let what is no longer used pile up.
const (
	makeMemory  = 440 << 20
	applyMemory = 100 << 20
)

// MakePatch implements cli.Engine.
func (e *Engine) MakePatch(ctx context.Context, o cli.PatchOptions, report event.Func) (*cli.Difference, error) {
	if isURL(o.Old) || isURL(o.New) {
		return nil, fault.New(fault.Usage, "fetch it with 'ropeway sync' first", "a patch is made of local files, not of a URL")
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(makeMemory))
	report(event.Start{Verb: "patch", Source: o.New, Destination: o.Out, DryRun: o.Out == ""})
	old, err := patchfile.Walk(ctx, o.Old, resolved(o.Old, o.Dir), true, teller(report))
	if err != nil {
		return nil, err
	}
	defer old.Close()
	fresh, err := patchfile.Walk(ctx, o.New, resolved(o.New, o.Dir), true, teller(report))
	if err != nil {
		return nil, err
	}
	defer fresh.Close()
	options := patchfile.Options{NoTimes: o.NoTimes}
	var r *patchfile.Report
	if o.Out == "" {
		r, err = patchfile.Make(ctx, old, fresh, options, io.Discard, teller(report))
	} else {
		err = writeWhole(o.Out, within(o.Out, o.Dir), func(w io.Writer) error {
			r, err = patchfile.Make(ctx, old, fresh, options, w, teller(report))
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	d := &cli.Difference{
		OldFiles: r.OldFiles, NewFiles: r.NewFiles, OldBytes: r.OldBytes, NewBytes: r.NewBytes, Patch: r.Patch,
		Listing: r.Listing, Windows: r.Windows, Deleted: r.Deleted, Attributes: r.Attributes, Skipped: r.Skipped, Tree: r.Tree.String(),
	}
	for _, c := range r.Content {
		if old.Single {
			c.Path = filepath.Base(o.New)
		}
		d.Content = append(d.Content, cli.FileDifference{Path: c.Path, Method: string(c.Method), From: c.From, Size: c.Size, Cost: c.Cost, Literal: c.Literal})
	}
	return d, nil
}

// ApplyPatch implements cli.Engine.
func (e *Engine) ApplyPatch(ctx context.Context, o cli.ApplyOptions, report event.Func) (*cli.Applied, error) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(applyMemory))
	report(event.Start{Verb: "patch", Source: o.Old, Destination: o.Dest, DryRun: o.Dest == ""})
	in := o.Stdin
	if o.Patch != "-" {
		f, err := os.Open(within(o.Patch, o.Dir))
		if err != nil {
			return nil, fault.New(fsys.Class(err), "", "%s: %s", o.Patch, fsys.Plain(err))
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	old, err := patchfile.Walk(ctx, o.Old, resolved(o.Old, o.Dir), false, teller(report))
	if err != nil {
		return nil, err
	}
	defer old.Close()
	a := patchfile.ApplyOptions{Name: o.Dest}
	if o.Dest != "" {
		a.Dest = within(o.Dest, o.Dir)
	}
	r, err := patchfile.Apply(ctx, old, in, a, teller(report))
	if err != nil {
		return nil, err
	}
	return &cli.Applied{Files: r.Files, Dirs: r.Dirs, Symlinks: r.Symlinks, Bytes: r.Bytes, Made: r.Made, Tree: r.Tree.String()}, nil
}

func within(name, dir string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(dir, name)
}

// resolved follows the symlinks of a path that the operator named, if there is
// something; otherwise whoever opens it says so.
func resolved(name, dir string) string {
	path := within(name, dir)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// teller turns steps into reports of work.
func teller(report event.Func) patchfile.Progress {
	var w event.Work
	return func(stage string, files, bytes int64) error {
		if stage != w.Stage {
			w = event.Work{Stage: stage}
		}
		w.Files, w.Bytes = w.Files+files, w.Bytes+bytes
		report(w)
		return nil
	}
}

// writeWhole has a file written beside its place and renames it once it is whole.
func writeWhole(name, path string, write func(io.Writer) error) (err error) {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".ropeway-"+strconv.Itoa(os.Getpid()))
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fault.New(fsys.Class(err), "", "cannot write %s: %s", name, fsys.Plain(err))
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	buf := bufio.NewWriterSize(f, 1<<20)
	failed := write(buf)
	if failed == nil {
		failed = buf.Flush()
	}
	if failed == nil {
		failed = f.Sync()
	}
	if err := f.Close(); failed == nil {
		failed = err
	}
	if failed == nil {
		failed = os.Rename(tmp, path)
	}
	if failed != nil && fault.ClassOf(failed) == fault.Other && fsys.IsFull(failed) {
		return fault.New(fault.Limit, "make room and run it again", "cannot write %s: %s", name, fsys.Plain(failed))
	}
	return failed
}
