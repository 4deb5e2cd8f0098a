package origin

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/scan"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// Where the history, or a base directory, has what a receiver has, a plan has a
// patch. It is kept as long as other objects, for all receivers that have the
// same. While there is none yet it is made only if that takes less time than
// what it saves on the receiver's link, or if the receiver finds bytes dear.

const (
	// free is what is patched whatever the link is like, in bytes of new content.
	free = 4 << 20
	// plainRate is how much changed content is compared in a second, in bytes, and
	// packedRate how much of it inside of archives, most of which is as it was.
	plainRate, packedRate = 25e6, 150e6
	// usualRate is what a link is taken to carry if nobody knows, in bytes per
	// second, and usualShare the part of changed files that crosses without patch.
	usualRate, usualShare = 100e6 / 8, .25
	// maxSpoiled bounds the remembered failures.
	maxSpoiled = 1000
)

// patches is what the plans of a module share.
type patches struct {
	turn   chan struct{} // held to make a patch: it takes much memory
	worked atomic.Int64  // bytes dealt with, by all that were made

	mu      sync.Mutex
	spoiled map[digest.Digest]bool // bases for which a patch could not be made; guarded by mu
}

func newPatches() *patches {
	return &patches{turn: make(chan struct{}, 1), spoiled: map[digest.Digest]bool{}}
}

// patcher is a plan.Patcher for one plan.
type patcher struct {
	o      *Origin
	r      *planRun
	base   digest.Digest // what stands for what the receiver has
	always bool
	gain   float64 // seconds that leaving out a byte of a changed file saves
	spent  int64   // bytes that wait whatever it costs
	passed int64   // bytes that did not wait
}

// offerPatch opens the base for the sender and lets it have a patch made, if
// the receiver has what we have, too. It returns nil where there can be none.
func (r *planRun) offerPatch(s *plan.Sender) *patcher {
	o := r.o
	s.Base = func(context.Context) (manifest.Source, func(), error) { return o.openBase(r.base) }
	if r.pace.patch == wire.PatchNever || o.cfg.Store.History() == nil && o.bases == nil {
		return nil
	}
	p := &patcher{o: o, r: r, always: r.pace.patch == wire.PatchAlways}
	rate := float64(usualRate)
	if r.pace.rate > 0 {
		rate = float64(r.pace.rate)
	}
	p.gain = usualShare / rate
	s.Base = func(ctx context.Context) (manifest.Source, func(), error) {
		if s.Patcher == nil && o.bases.wait(ctx) == nil && p.known() {
			s.Patcher = p
		}
		return o.openBase(r.base)
	}
	return p
}

// known is called when it is known what the receiver has.
func (p *patcher) known() bool {
	b := p.r.base
	if b.Tree.IsZero() && len(b.Uploads) == 0 {
		return false
	}
	id := runID(p.r.tour.view, b, pace{})
	p.base = digest.Sum(append([]byte("patch of "), id[:]...))
	p.o.patches.mu.Lock()
	spoiled := p.o.patches.spoiled[p.base]
	p.o.patches.mu.Unlock()
	if spoiled {
		return false
	}
	if f, err := p.o.cfg.Store.Objects().Open(p.o.cfg.Module, p.base); err == nil {
		_ = f.Close()
		p.always = true // it was made before
	}
	return p.always || !p.r.pace.fast
}

// Holds implements plan.Patcher.
func (p *patcher) Holds(d digest.Digest, size int64) bool {
	if h := p.o.cfg.Store.History(); h != nil && h.Has(p.o.cfg.Module, d, size) {
		return true
	}
	return p.o.bases.has(d)
}

// Defers implements plan.Patcher.
func (p *patcher) Defers(old *manifest.Entry, size int64) bool {
	if p.always {
		return true
	}
	rate := float64(plainRate)
	if old != nil && archive(old.Path) {
		rate = packedRate
	}
	if float64(size)/rate <= float64(size)*p.gain {
		return true
	}
	if p.spent += size; p.spent <= free {
		return true
	}
	p.passed += size
	return false
}

// declined reports whether the plan could have had more of a patch.
func (p *patcher) declined() bool { return p != nil && p.passed > 0 }

// archive reports whether a file's name is that of an archive that patches see
// into.
func archive(path string) bool {
	for _, ext := range []string{".jar", ".war", ".ear", ".zip", ".apk", ".whl", ".tar"} {
		if strings.HasSuffix(path, ext) {
			return true
		}
	}
	return false
}

// Make implements plan.Patcher.
func (p *patcher) Make(ctx context.Context, olds, news []plan.File, work func(int64)) (*plan.PatchNote, error) {
	key := patchKey(olds, news)
	done, err := p.claim(ctx, work)
	if err != nil {
		return nil, err
	}
	defer done()
	if n := p.cached(key); n != nil { // by whoever had the turn before, perhaps
		return n, nil
	}
	n, err := p.make(ctx, key, olds, news, work)
	if err != nil && ctx.Err() == nil {
		// The records are out. The client asks again, and gets none then.
		p.o.patches.mu.Lock()
		if len(p.o.patches.spoiled) < maxSpoiled {
			p.o.patches.spoiled[p.base] = true
		}
		p.o.patches.mu.Unlock()
		p.o.cfg.Log("patch of /%s: %v", p.r.tour.path, err)
		return nil, fault.Wrap(fault.Network, err, "", "the patch could not be made")
	}
	return n, err
}

func patchKey(olds, news []plan.File) digest.Digest {
	b := []byte("patch 0\n")
	for _, files := range [][]plan.File{olds, news} {
		b = binary.AppendUvarint(b, uint64(len(files)))
		for i := range files {
			b = binary.AppendUvarint(b, uint64(len(files[i].Path)))
			b = append(b, files[i].Path...)
			b = append(b, files[i].Digest[:]...)
		}
	}
	return digest.Sum(b)
}

// claim waits for the turn to make a patch. What others do meanwhile counts as
// work: if that stands still, so does this.
func (p *patcher) claim(ctx context.Context, work func(int64)) (done func(), err error) {
	ps := p.o.patches
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for seen := ps.worked.Load(); ; {
		select {
		case ps.turn <- struct{}{}:
			return func() { <-ps.turn }, nil
		case <-t.C:
			n := ps.worked.Load()
			work(n - seen)
			seen = n
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// cached returns a patch that was made before and whose objects are all there.
func (p *patcher) cached(key digest.Digest) *plan.PatchNote {
	spool := p.o.cfg.Store.Objects()
	b, err := load(spool, p.o.cfg.Module, key)
	if err != nil {
		return nil
	}
	n, err := plan.ParsePatchNote(b)
	if err != nil {
		return nil
	}
	ids := make([]digest.Digest, len(n.Objects))
	for i := range n.Objects {
		ids[i] = n.Objects[i].ID
	}
	if len(spool.Lease(p.o.cfg.Module, "", ids...)) > 0 {
		return nil
	}
	p.names(n)
	return n
}

// names notes what the plan needs.
func (p *patcher) names(n *plan.PatchNote) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	for i := range n.Objects {
		p.r.packs = append(p.r.packs, n.Objects[i].ID)
	}
}

func (p *patcher) make(ctx context.Context, key digest.Digest, olds, news []plan.File, work func(int64)) (*plan.PatchNote, error) {
	raw := int64(0)
	for i := range news {
		raw += news[i].Size
	}
	root, err := p.r.tour.open(p.o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	tree := fsys.NewTree(root)
	defer tree.Close()
	batch := p.o.cfg.Store.Objects().Begin(p.o.cfg.Module, "")
	defer batch.Cancel()
	out := plan.NewPatchWriter(raw, batch.Put)
	err = makePatch(ctx, patchSources{
		olds: olds, news: news, open: p.open, read: func(f *plan.File) (source, error) { return p.read(tree, f) },
	}, out, func(n int64) { p.o.patches.worked.Add(n); work(n) })
	if err != nil {
		return nil, err
	}
	n, err := out.Note()
	if err != nil {
		return nil, err
	}
	if err := batch.Put(key, n.Marshal()); err != nil {
		return nil, err
	}
	p.names(n)
	return n, errors.Join(batch.Put(p.base, []byte{1}), batch.Sync())
}

// source is an open content.
type source interface {
	io.ReaderAt
	io.Closer
}

// open opens what the receiver has.
func (p *patcher) open(f *plan.File) (source, error) {
	if h := p.o.cfg.Store.History(); h != nil {
		if o, err := h.Open(p.o.cfg.Module, f.Digest, f.Size); err == nil {
			return o, nil
		}
	}
	if f, err := p.o.bases.open(f.Digest); err == nil {
		return f, nil
	}
	return nil, store.ErrGone
}

// read opens a new file, if it still is the one that was planned.
func (p *patcher) read(tree *fsys.Tree, f *plan.File) (source, error) {
	dir, leaf, err := tree.Parent(f.Path)
	if err != nil {
		return nil, err
	}
	file, info, err := dir.OpenFile(leaf)
	if err != nil {
		return nil, err
	}
	if scan.StatOf(info) != f.Stat {
		_ = file.Close()
		return nil, errGone
	}
	return file, nil
}
