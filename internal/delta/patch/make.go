package patch

import (
	"context"
	"io"
	"slices"

	"github.com/ropeway/ropeway/internal/delta/bytediff"
	"github.com/ropeway/ropeway/internal/delta/container"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Options tell how a patch is made. The zero value is usable.
type Options struct {
	// Window bounds the content of a window, in bytes; 0 is MaxWindow. Less
	// takes less memory and time to begin with, and gives larger patches.
	Window int64
	// Tick is told how many bytes were read or compared since it was last
	// called; its error ends the work. nil: nobody wants to know. It is called
	// from the goroutine that called New or Window.
	Tick func(n int64) error
}

// Patch makes a patch. Its methods are not safe for concurrent use.
type Patch struct {
	Identity Identity

	head  Head
	o     Options
	most  int64  // bytes of leftovers that are searched for one window
	left  *space // of the old tree
	fresh *space // of the new tree
	pools [2]*pool
	coder *bytediff.Coder
	whole *base   // all of the leftovers, if they are few
	look  *sketch // of the leftovers, if they are many
}

// New compares two trees and finds out what the windows of a patch will be.
// The trees must not change until Close. An error is that of ctx, Tick or of
// reading a file.
func New(ctx context.Context, old, fresh Tree, o Options) (*Patch, error) {
	if o.Window <= 0 || o.Window > MaxWindow {
		o.Window = MaxWindow
	}
	if o.Tick == nil {
		o.Tick = func(int64) error { return nil }
	}
	p := &Patch{
		Identity: Identify(old.Files, fresh.Files), o: o, most: maxCandidates, left: &space{}, fresh: &space{},
		pools: [2]*pool{newPool(old.Open), newPool(fresh.Open)}, coder: bytediff.NewCoder(),
	}
	if err := p.open(ctx); err != nil {
		p.Close()
		return nil, err
	}
	p.cut()
	return p, nil
}

// Close closes the files that are open.
func (p *Patch) Close() {
	for _, x := range p.pools {
		x.close()
	}
}

// Head returns the encoded head.
func (p *Patch) Head() []byte { return p.head.encode() }

// Table returns the head, which must not be changed.
func (p *Patch) Table() *Head { return &p.head }

// open finds out how targets are made of old files, and what these have left.
func (p *Patch) open(ctx context.Context) error {
	targets, left := p.Identity.Misses, p.Identity.Left
	if len(targets) > MaxFiles || len(left) > MaxFiles {
		return fault.New(fault.Limit, "make patches of parts of the tree", "more than %d files differ", MaxFiles)
	}
	p.head.Targets = make([]Target, len(targets))
	p.head.Origins = make([]Origin, len(left))
	spare := make([][]container.Unit, len(left))
	for i, f := range left {
		p.head.Origins[i] = Origin{Path: f.Path, Size: f.Size, Left: f.Size, check: checkOf(f.Digest), user: -1, plain: true}
	}
	names, recipes := 0, 0
	base := bases(targets, left)
	for i, f := range targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		t := &p.head.Targets[i]
		*t = Target{Path: f.Path, Size: f.Size, Fresh: f.Size, check: checkOf(f.Digest), base: -1, plain: true}
		names += len(f.Path)
		d, err := p.openTarget(f, left, base[i], maxRecipes-recipes)
		if err != nil {
			return err
		}
		r := p.pools[1].file(f.Path)
		if d == nil {
			p.fresh.addPlain(f.Path, r, f.Size)
			continue
		}
		t.plain, t.recipe, t.Fresh = false, d.Recipe, sizeOf(d.Fresh)
		recipes += len(d.Recipe)
		p.fresh.add(f.Path, r, d.Fresh)
		if b := base[i]; b >= 0 {
			t.base, spare[b] = b, d.Spare
			o := &p.head.Origins[b]
			o.user, o.plain, o.Left = i, false, sizeOf(d.Spare)
		}
	}
	for i, f := range left {
		o := &p.head.Origins[i]
		names += len(f.Path)
		if o.plain && len(targets) > 0 {
			d, err := p.openOrphan(f, maxRecipes-recipes)
			if err != nil {
				return err
			}
			if d != nil {
				recipes += len(d.Recipe)
				o.plain, o.recipe, o.Left, spare[i] = false, d.Recipe, sizeOf(d.Spare), d.Spare
			}
		}
		r := p.pools[0].file(f.Path)
		if o.plain {
			p.left.addPlain(f.Path, r, f.Size)
		} else {
			p.left.add(f.Path, r, spare[i])
		}
	}
	if names > maxNames {
		return fault.New(fault.Limit, "make patches of parts of the tree", "the names of what differs take more than %d MiB", maxNames>>20)
	}
	return nil
}

// openTarget sees into a target. nil: it is coded as it is.
func (p *Patch) openTarget(f File, left []File, base, room int) (*container.Delta, error) {
	next, err := container.Parse(p.pools[1].file(f.Path), f.Size)
	if err != nil {
		return nil, &readError{f.Path, err}
	}
	old, err := container.Parse(empty{}, 0)
	if err == nil && base >= 0 {
		old, err = container.Parse(p.pools[0].file(left[base].Path), left[base].Size)
	}
	if err != nil {
		return nil, &readError{left[base].Path, err}
	}
	if next.Plain() {
		return nil, p.o.Tick(f.Size)
	}
	d, err := container.Diff(next, old)
	if err != nil {
		return nil, &readError{f.Path, err}
	}
	if len(d.Recipe) > room {
		d = nil
	}
	return d, p.o.Tick(f.Size)
}

// openOrphan sees into an old file that is no target's base, so that its units
// are leftovers.
func (p *Patch) openOrphan(f File, room int) (*container.Delta, error) {
	old, err := container.Parse(p.pools[0].file(f.Path), f.Size)
	if err != nil {
		return nil, &readError{f.Path, err}
	}
	if old.Plain() {
		return nil, nil
	}
	nothing, err := container.Parse(empty{}, 0)
	if err != nil {
		return nil, err
	}
	d, err := container.Diff(nothing, old)
	if err != nil {
		return nil, &readError{f.Path, err}
	}
	if len(d.Recipe) > room || len(d.Fresh) > 0 {
		return nil, nil
	}
	return d, nil
}

// empty is a file without content.
type empty struct{}

func (empty) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

func sizeOf(units []container.Unit) (n int64) {
	for _, u := range units {
		n += u.Size
	}
	return n
}

// cut cuts the fresh stream into windows, between pieces where that wastes
// less than half a window.
func (p *Patch) cut() {
	n := int64(0)
	for _, x := range p.fresh.pieces {
		size := x.unit.Size
		if n > p.o.Window/2 && n+size > p.o.Window {
			p.head.Windows = append(p.head.Windows, n)
			n = 0
		}
		for n+size > p.o.Window {
			p.head.Windows = append(p.head.Windows, p.o.Window)
			size -= p.o.Window - n
			n = 0
		}
		n += size
	}
	if n > 0 {
		p.head.Windows = append(p.head.Windows, n)
	}
}

// Windows returns the number of windows.
func (p *Patch) Windows() int { return len(p.head.Windows) }

// Sort brings files into the order that a Tree wants.
func Sort(files []File) {
	slices.SortFunc(files, func(a, b File) int { return manifest.Compare(a.Path, b.Path) })
}
