package land

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// landing is one execution of a list of operations: the first, or the one
// that finishes what was interrupted.
type landing struct {
	a      *Area
	d      disk
	ready  ready
	at     *attrs
	stage  *fsys.Dir
	tree   *fsys.Tree
	count  int64 // operations; 0 if only the index is to be written
	res    Result
	failed map[string]struct{}
	lost   bool // failed is incomplete

	modes map[string]uint32 // directories that were opened up, and their modes
	log   *os.File          // the same, on disk

	fresh *fsys.Dir // the new tree beside the old, when atomic

	items int64
	told  time.Time
}

// maxFailed bounds how many failed paths are remembered. Beyond it nothing
// that was touched is trusted in the index.
const maxFailed = 100_000

func (a *Area) newLanding(r ready, stage *fsys.Dir, at *attrs) *landing {
	return &landing{
		a: a, d: a.d, ready: r, at: at, stage: stage, tree: fsys.NewTree(a.root),
		failed: map[string]struct{}{}, modes: map[string]uint32{},
	}
}

// close closes handles.
func (l *landing) close() {
	l.tree.Close()
	if l.log != nil {
		_ = l.log.Close()
		l.log = nil
	}
	if l.fresh != nil {
		_ = l.fresh.Close()
		l.fresh = nil
	}
}

// Land makes the destination what final says, by the operations that were
// added. final yields every entry of the new tree in canonical order, the root
// first, with Stat set for what the local tree already holds as the entry says
// and zero for what operations touch. tree is the digest of the tree as sent;
// OpenIndex returns it with meta. A nil final is what List has been told.
//
// Items that cannot be landed do not stop the rest: each is reported as an
// event.Warn and counted in Result. An error means that the landing did not
// happen, or, after the mark was written, that the next Open will finish it.
func (a *Area) Land(ctx context.Context, final manifest.Source, tree digest.Digest, meta uint64) (*Result, error) {
	if a.o.DryRun {
		res := a.dry
		res.Tree = tree
		return &res, nil
	}
	if a.landed {
		return nil, errors.New("land: the tree has landed")
	}
	count, err := a.finishOps()
	if err != nil {
		return nil, wrap(err, "", "cannot write the list of operations")
	}
	a.landed = true
	if err := a.writeFinal(ctx, final, tree, meta); err != nil {
		return nil, wrap(err, "", "cannot write the list of the new tree")
	}
	l := a.early
	if l == nil {
		l = a.newLanding(a.o.ready(), a.stage, a.at)
	}
	a.early = nil
	defer l.close()
	l.count = count
	if count == 0 {
		l.ready.Atomic = false
		if err := l.index(ctx); err != nil {
			return nil, wrap(err, "", "cannot write the index")
		}
		return l.result(), l.finish(ctx)
	}
	if l.ready.Atomic {
		if err := l.build(ctx); err != nil {
			err = errors.Join(err, l.abandon())
			return nil, wrap(err, "", "cannot build the new tree beside %s", a.place.path)
		}
	}
	if err := l.commit(ctx); err != nil {
		return nil, wrap(err, "", "cannot make the staged files durable")
	}
	return l.run(ctx)
}

// commit makes everything that the landing needs durable, and then marks it.
// From here on the landing is finished whatever happens.
func (l *landing) commit(ctx context.Context) error {
	if err := l.patiently(func() error { return l.syncStaged(ctx) }); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.a.writeMark(nameReady, &l.ready)
}

// run executes a landing that is marked.
func (l *landing) run(ctx context.Context) (*Result, error) {
	var err error
	if l.ready.Atomic {
		err = l.swap(ctx)
	} else {
		err = l.burst(ctx)
	}
	if errors.Is(err, errNotExchanged) {
		return nil, err
	}
	if err == nil {
		err = l.index(ctx)
	}
	if err == nil {
		err = l.finish(ctx)
	}
	if err != nil {
		hint := "run it again to finish the landing"
		if fsys.IsFull(err) {
			hint = "make room and run it again to finish the landing"
		}
		return nil, wrap(err, hint, "the landing was interrupted")
	}
	return l.result(), nil
}

func (l *landing) result() *Result {
	l.res.OwnerSkipped = l.at.skipped.Load()
	return &l.res
}

// burst changes the destination in place. Every step of it can be done twice.
func (l *landing) burst(ctx context.Context) error {
	if err := l.deletes(ctx, true); err != nil {
		return err
	}
	if err := l.puts(ctx); err != nil {
		return err
	}
	if err := l.deletes(ctx, false); err != nil {
		return err
	}
	return l.dirs(ctx)
}

// puts executes all operations but the deletions.
func (l *landing) puts(ctx context.Context) error {
	return l.eachOp(ctx, func(op *Op) error {
		if op.Kind == OpDelete || op.done {
			return nil
		}
		return l.settle(op, l.put(op))
	})
}

// put executes one operation that is no deletion.
func (l *landing) put(op *Op) error {
	e := &op.Entry
	if e.Path == "" {
		return l.putRoot(e)
	}
	return l.in(e.Path, func(dir *fsys.Dir, leaf string) error {
		switch op.Kind {
		case OpMkdir:
			return l.mkdir(dir, leaf, e)
		case OpFile:
			return l.file(dir, leaf, e)
		case OpSymlink:
			return l.symlink(dir, leaf, e)
		default:
			return l.attr(dir, leaf, e)
		}
	})
}

// now executes an early operation if nothing is in its way, and reports
// whether it did. What cannot be done yet is left for the burst.
func (l *landing) now(op *Op) bool {
	if op.Kind != OpMkdir && op.Kind != OpFile || l.put(op) != nil {
		return false
	}
	return l.settle(op, nil) == nil
}

// settle notes the outcome of an operation. It returns an error only for what
// must end the landing.
func (l *landing) settle(op *Op, err error) error {
	if err == nil {
		l.res.Landed++
		emitItem(l.a.o.Events, op, op.Entry.Type == manifest.Dir)
		l.tick()
		return nil
	}
	return l.fail(op.Entry.Path, err)
}

// fail counts a failed item; a full disk ends the landing instead, since all
// that follows would fail too.
func (l *landing) fail(path string, err error) error {
	if fsys.IsFull(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, again := l.failed[path]; again {
		return nil
	}
	err = cause(err)
	l.res.Failed++
	if len(l.res.Failures) < maxFailures {
		l.res.Failures = append(l.res.Failures, Failure{path, err})
	}
	if len(l.failed) < maxFailed {
		l.failed[path] = struct{}{}
	} else {
		l.lost = true
	}
	l.a.o.Events(event.Warn{Path: path, Text: "not landed: " + err.Error(), Partial: true})
	l.tick()
	return nil
}

// cause strips the operation and the path, which is the entry's own.
func cause(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return fmt.Errorf("%s: %w", pe.Op, pe.Err)
	case errors.As(err, &le):
		return fmt.Errorf("%s: %w", le.Op, le.Err)
	}
	return err
}

// tick counts an item and tells about it a few times a second.
func (l *landing) tick() {
	if l.items++; l.items%256 != 0 {
		return
	}
	if now := time.Now(); now.Sub(l.told) >= 200*time.Millisecond {
		l.told = now
		l.a.o.Events(event.Work{Stage: "land", Files: l.items})
	}
}

// patiently runs f, which may take long without an item to count, and tells
// once a second that we are at it.
func (l *landing) patiently(f func() error) error {
	stop := make(chan struct{})
	var done sync.WaitGroup
	work := event.Work{Stage: "land", Files: l.items}
	done.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				l.a.o.Events(work)
			case <-stop:
				return
			}
		}
	})
	defer done.Wait()
	defer close(stop)
	return f()
}

// finish removes the mark, and then what the landing needed.
func (l *landing) finish(ctx context.Context) error {
	if err := l.d.discard(l.a.state, nameReady); err != nil {
		return err
	}
	if err := l.d.syncDir(l.a.state); err != nil {
		return err
	}
	var first error
	for _, name := range []string{nameOps, nameFinal, nameModes, nameBuilding} {
		if err := l.d.discard(l.a.state, name); first == nil {
			first = err
		}
	}
	err := l.patiently(func() error { return l.dropStage(context.WithoutCancel(ctx), l.res.Failed > 0) })
	if first == nil {
		first = err
	}
	if first != nil {
		l.a.o.Events(event.Warn{Text: "the tree has landed, but what it needed could not be removed: " + first.Error()})
	}
	return nil
}

// List appends an entry to the list of the new tree, in the order and with the
// Stat that Land wants of final. It is not safe for concurrent use.
func (a *Area) List(r *manifest.Record) error {
	if a.o.DryRun {
		return nil
	}
	if a.final == nil {
		if err := a.d.discard(a.state, nameFinal); err != nil {
			return wrap(err, "", "cannot write the list of the new tree")
		}
		w, err := a.newList(nameFinal, kindIndex)
		if err != nil {
			return wrap(err, "", "cannot write the list of the new tree")
		}
		a.final = w
	}
	if r.Op != manifest.Put {
		return fault.New(fault.Integrity, "", "the new tree lists a deletion of %q", r.Path)
	}
	if err := checkPath(r.Path); err != nil {
		return fault.Wrap(fault.Integrity, err, "", "the new tree is wrong")
	}
	if err := a.final.Put(r); err != nil {
		return wrap(err, "", "cannot write the list of the new tree")
	}
	return nil
}

// dropFinal forgets a list that did not come to a landing.
func (a *Area) dropFinal() {
	if a.final != nil {
		a.final.abort()
		a.final = nil
		_ = a.d.discard(a.state, nameFinal) // the next Open does it otherwise
	}
}

// writeFinal completes the list of the new tree.
func (a *Area) writeFinal(ctx context.Context, final manifest.Source, tree digest.Digest, meta uint64) error {
	for final != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		var rec manifest.Record
		err := final.Next(&rec)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = a.List(&rec)
		}
		if err != nil {
			return err
		}
	}
	if a.final == nil {
		return errors.New("land: a tree without entries")
	}
	w := a.final
	a.final = nil
	return w.close(tree, meta, false)
}

// list is a stored list that is being written.
type list struct {
	*manifest.Writer
	f *os.File
	d disk
}

func (a *Area) newList(name string, kind byte) (*list, error) {
	f, err := a.d.create(a.state, name, 0o600)
	if err != nil {
		return nil, err
	}
	l := &list{f: f, d: a.d}
	l.Writer = manifest.NewWriter(gate{l.f, l.d}, kind)
	return l, nil
}

// gate lets a writer pass the gate to the disk.
type gate struct {
	f *os.File
	d disk
}

func (g gate) Write(b []byte) (int, error) {
	if err := g.d.write(g.f, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (l *list) close(tree digest.Digest, meta uint64, sync bool) error {
	err := l.Close(tree, meta)
	if err == nil && sync {
		err = l.d.fsync(l.f)
	}
	if cerr := l.f.Close(); err == nil {
		err = cerr
	}
	return err
}

// abort closes the file if close was not reached.
func (l *list) abort() { _ = l.f.Close() }

// eachFinal calls fn for every entry of the new tree. What r points to is
// valid during the call only, except strings.
func (l *landing) eachFinal(ctx context.Context, fn func(r *manifest.Record) error) error {
	r, f, _, err := openList(l.a.state, nameFinal, kindIndex)
	if err != nil {
		return fmt.Errorf("list of the new tree: %w", err)
	}
	defer f.Close()
	var rec manifest.Record
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := r.Next(&rec); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("list of the new tree: %w", err)
		}
		if err := fn(&rec); err != nil {
			return err
		}
	}
}
