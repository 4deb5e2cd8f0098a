package origin

import (
	"encoding/binary"
	"os"
	"strings"
	"sync/atomic"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/scan"
	"github.com/ropeway/ropeway/internal/wire"
)

// view is what requests must agree in to share a scan.
type view struct {
	path             string
	one, all, fresh  bool
	mask             uint8
	omitRoot         bool
	filter           *filter.Set
	name             string // of the view's index
	meta             uint64 // of the index
	id               digest.Digest
	dirPath, oneFile string
}

func (o *Origin) viewOf(req *wire.PlanRequest) (*view, error) {
	if err := manifest.CheckPath(req.Path); err != nil {
		return nil, fault.Wrap(fault.Usage, err, "", "path")
	}
	if manifest.InState(req.Path) {
		return nil, fault.New(fault.NotFound, "", "%s: no such file or directory in module %s", req.Path, o.cfg.Module)
	}
	set, err := filter.Parse(req.Filter)
	if err != nil {
		return nil, err
	}
	v := &view{
		path: req.Path, one: req.One, all: req.Recursive, fresh: req.Fresh, mask: req.Mask, omitRoot: req.OmitRoot,
		filter: set, dirPath: req.Path,
		// The tree below each path has an index of its own.
		name: o.cfg.Module + "/" + req.Path, meta: uint64(req.Mask) | marksAside,
	}
	if v.omitRoot {
		v.meta |= 1 << 8
	}
	if v.all {
		v.meta |= 1 << 9
	}
	if v.one {
		v.name += "!"
		v.dirPath = manifest.Parent(req.Path)
		v.oneFile = req.Path[strings.LastIndexByte(req.Path, '/')+1:]
	}
	b := binary.AppendUvarint(nil, v.meta)
	b = append(b, flag(v.one), flag(v.fresh))
	b = binary.AppendUvarint(b, uint64(len(v.path)))
	b = append(append(b, v.path...), req.Filter...)
	v.id = digest.Sum(b)
	return v, nil
}

// marksAside is in the meta of indexes whose records set aside are marked.
const marksAside = 1 << 10

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// open opens the directory of the view as it is now.
func (v *view) open(o *Origin) (*fsys.Dir, error) {
	no := func(path string, err error) error {
		return fault.New(fsys.Class(err), "list what there is with: ropeway ls", "/%s in module %s: %s", path, o.cfg.Module, fsys.Plain(err))
	}
	dir, err := o.descend(v.dirPath)
	if err != nil {
		return nil, no(v.dirPath, err)
	}
	if v.one {
		if _, err := dir.Lstat(v.oneFile); err != nil {
			_ = dir.Close()
			return nil, no(v.path, err)
		}
	}
	return dir, nil
}

// tour is a scan of a view, for all who asked for it before it began.
type tour struct {
	*view
	scan  *plan.Scan
	began atomic.Bool
	jobs  atomic.Int64 // that joined it
	// runs are the plans on it, by what they depend on; guarded by the origin's
	// mutex. The origin knows only the latest of each kind, of whatever scan.
	runs map[digest.Digest]*planRun
}

// tours are the scans of one view: one that runs, and one for those who came
// after that had begun.
type tours struct {
	id               digest.Digest // of the view
	running, waiting *tour
}

// join returns a scan that begins after now, with an interest in it. Called
// with the mutex held.
func (o *Origin) join(v *view) *tour {
	q := o.tours[v.id]
	if q == nil {
		q = &tours{id: v.id, running: o.newTour(v)}
		o.tours[v.id] = q
		q.running.scan.Join()
		t := q.running
		t.jobs.Add(1)
		o.wg.Go(func() { o.walk(q, t) })
		return t
	}
	if q.waiting == nil || !q.waiting.scan.Join() {
		q.waiting = o.newTour(v)
		q.waiting.scan.Join()
	}
	if q.waiting.jobs.Add(1) > 1 {
		o.counts.scansShared.Add(1)
	}
	return q.waiting
}

func (o *Origin) newTour(v *view) *tour {
	return &tour{view: v, scan: plan.NewScan(o.limits.memory, o.cfg.Temp.Temp), runs: map[digest.Digest]*planRun{}}
}

// walk runs the scans of a view until nobody waits for one.
func (o *Origin) walk(q *tours, t *tour) {
	for t != nil {
		select {
		case o.limits.walks <- struct{}{}:
			t.began.Store(true)
			o.counts.scans.Add(1)
			t.scan.Run(o.ctx, func() (plan.Tree, error) { return o.openTree(t) })
			<-o.limits.walks
		case <-o.ctx.Done():
			t.scan.Run(o.ctx, func() (plan.Tree, error) { return plan.Tree{}, o.ctx.Err() })
		}
		o.mu.Lock()
		q.running, q.waiting = q.waiting, nil
		if t = q.running; t == nil {
			delete(o.tours, q.id)
		}
		o.mu.Unlock()
	}
}

// openTree opens what a scan reads.
func (o *Origin) openTree(t *tour) (plan.Tree, error) {
	dir, err := t.open(o)
	if err != nil {
		return plan.Tree{}, err
	}
	var looked int64
	tree := plan.Tree{
		Options: scan.Options{
			Root: dir, Mask: manifest.Mask(t.mask), Recursive: t.all, OneFile: t.oneFile, Filter: t.filter,
			Progress: func(files, bytes int64) {
				o.limits.work.Add(files + bytes - looked)
				looked = files + bytes
			},
		},
		Close: func() { _ = dir.Close() },
	}
	old, err := o.cfg.Store.Indexes().Open(t.name)
	if err != nil {
		return tree, nil // the first time; what is wrong with the store shows later
	}
	tree.Close = func() { _ = dir.Close(); _ = old.Close() }
	tree.Index = old
	switch trailer := old.Trailer(); {
	case t.fresh:
		tree.Index = manifest.Distrust(old)
	case trailer.Meta == t.meta:
		tree.Listed, tree.Again = &trailer, old.Again
	}
	return tree, nil
}

// temp makes a file for a plan.
func (o *Origin) temp() (*planFile, error) {
	f, err := o.cfg.Temp.Temp()
	if err != nil {
		return nil, fault.Wrap(fsys.Class(err), err, "", "the server cannot keep a plan")
	}
	return &planFile{f: f, refs: 1}, nil
}

// planFile is a file without a name that several plans may share.
type planFile struct {
	f    *os.File
	refs int // guarded by the origin's mutex
}

func (p *planFile) ReadAt(b []byte, at int64) (int, error)  { return p.f.ReadAt(b, at) }
func (p *planFile) WriteAt(b []byte, at int64) (int, error) { return p.f.WriteAt(b, at) }
