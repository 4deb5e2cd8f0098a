package origin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/scan"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// plan starts a plan, or continues to answer one that runs.
func (o *Origin) plan(w http.ResponseWriter, r *http.Request) {
	body := bufio.NewReaderSize(r.Body, 16<<10)
	kind, payload, err := wire.ReadFrame(body)
	var req wire.PlanRequest
	if err == nil && kind != wire.KindRequest {
		err = wire.ErrFrame
	}
	if err == nil {
		err = req.Unmarshal(payload)
	}
	if err != nil {
		Refuse(w, fault.Wrap(fault.Usage, err, "", "plan request"))
		return
	}
	job, err := o.job(&req)
	if errors.Is(err, errGone) {
		http.Error(w, "no such job here any more", http.StatusGone)
		return
	}
	if err != nil {
		Refuse(w, err)
		return
	}
	job.attach(+1)
	defer job.attach(-1)
	h := w.Header()
	h.Set("Content-Type", wire.PlanType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	// The receiver says what it holds once it has looked, which may take long.
	needs := make(chan *wire.Need, 1)
	go func() {
		kind, payload, err := wire.ReadFrame(body)
		var base wire.Base
		if err == nil && kind == wire.KindBase && base.Unmarshal(payload) == nil {
			if n := job.setBase(&base); n != nil {
				needs <- n
			}
		}
	}()
	job.stream(r.Context(), w, rc, req.From, needs)
}

// job returns the running job that req continues, or starts one.
func (o *Origin) job(req *wire.PlanRequest) (*planJob, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if j := o.jobs[req.Job]; j != nil {
		return j, nil
	}
	switch {
	case req.From > 0:
		return nil, errGone
	case o.closed:
		return nil, fault.New(fault.Network, "", "the server is stopping")
	case len(o.jobs) >= maxJobs:
		return nil, fault.New(fault.Network, "", "the server works on %d plans already", len(o.jobs))
	}
	opts, closer, err := o.scanOptions(req)
	if err != nil {
		return nil, err
	}
	file, err := o.cfg.Temp.Temp()
	if err != nil {
		closer()
		return nil, fault.Wrap(fsys.Class(err), err, "", "the server cannot keep a plan")
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &planJob{o: o, req: *req, cancel: cancel, file: file, baseSet: make(chan struct{}), wake: make(chan struct{}), used: time.Now()}
	o.jobs[req.Job] = j
	o.wg.Go(func() {
		defer closer()
		j.run(ctx, opts)
	})
	return j, nil
}

// scanOptions opens what the request asks to be read.
func (o *Origin) scanOptions(req *wire.PlanRequest) (scan.Options, func(), error) {
	opts := scan.Options{Mask: manifest.Mask(req.Mask), Recursive: req.Recursive}
	if err := manifest.CheckPath(req.Path); err != nil {
		return opts, nil, fault.Wrap(fault.Usage, err, "", "path")
	}
	if manifest.InState(req.Path) {
		return opts, nil, fault.New(fault.NotFound, "", "%s: no such file or directory in module %s", req.Path, o.cfg.Module)
	}
	set, err := filter.Parse(req.Filter)
	if err != nil {
		return opts, nil, err
	}
	opts.Filter = set
	dirPath := req.Path
	if req.One {
		dirPath = manifest.Parent(req.Path)
		opts.OneFile = req.Path[strings.LastIndexByte(req.Path, '/')+1:]
	}
	dir, err := o.descend(dirPath)
	if err != nil {
		return opts, nil, fault.New(fsys.Class(err), "list what there is with: ropeway ls", "/%s in module %s: %s", dirPath, o.cfg.Module, fsys.Plain(err))
	}
	if req.One {
		if _, err := dir.Lstat(opts.OneFile); err != nil {
			_ = dir.Close()
			return opts, nil, fault.New(fsys.Class(err), "list what there is with: ropeway ls", "/%s in module %s: %s", req.Path, o.cfg.Module, fsys.Plain(err))
		}
	}
	opts.Root = dir
	return opts, func() { _ = dir.Close() }, nil
}

// planJob is one plan under way or done. It runs once, whoever reads it.
type planJob struct {
	o      *Origin
	req    wire.PlanRequest
	cancel context.CancelFunc

	mu      sync.Mutex // guards all below
	base    *wire.Base
	baseSet chan struct{} // closed once base is set
	file    *os.File      // segments, one after the other
	ends    []int64       // where each segment ends in file
	work    wire.Work
	warns   []wire.Warn
	ending  wire.Kind // 0 while it runs
	payload []byte
	wake    chan struct{} // closed and replaced when something is new
	readers int
	used    time.Time
	closed  bool
}

func (j *planJob) attach(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.readers += n
	j.used = time.Now()
}

func (j *planJob) idleSince(now time.Time) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.readers > 0 {
		return 0
	}
	return now.Sub(j.used)
}

func (j *planJob) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.closed = true
		_ = j.file.Close()
	}
}

func (j *planJob) notify() {
	close(j.wake)
	j.wake = make(chan struct{})
}

// setBase takes what the receiver holds, unless something is missing for it.
func (j *planJob) setBase(b *wire.Base) *wire.Need {
	var need wire.Need
	if len(b.Uploads) > 0 {
		for _, d := range b.Uploads {
			if f, err := j.o.cfg.Store.Segments().Open(j.o.cfg.Module, d); err != nil {
				need.Uploads = append(need.Uploads, d)
			} else {
				_ = f.Close()
			}
		}
	} else if !b.Tree.IsZero() && !j.o.cfg.Store.Manifests().Has(j.o.cfg.Module, b.Tree) {
		need.Base = true
	}
	if need.Base || len(need.Uploads) > 0 {
		return &need
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.base == nil {
		c := *b
		j.base = &c
		close(j.baseSet)
	}
	return nil
}

// openBase is the sender's view of what the receiver holds.
func (j *planJob) openBase(ctx context.Context) (manifest.Source, func(), error) {
	select {
	case <-j.baseSet:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	st, mod := j.o.cfg.Store, j.o.cfg.Module
	var (
		src  manifest.Source
		done = func() {}
	)
	switch {
	case len(j.base.Uploads) > 0:
		src = &uploads{open: func(d digest.Digest) ([]byte, error) { return load(st.Segments(), mod, d) }, ids: j.base.Uploads}
	case !j.base.Tree.IsZero():
		m, err := st.Manifests().Open(mod, j.base.Tree)
		if err != nil {
			return nil, nil, fault.Wrap(fault.Network, err, "run it again", "the base is gone")
		}
		src, done = m, func() { _ = m.Close() }
	default:
		src = manifest.Slice(nil)
	}
	if len(j.base.Changes) > 0 {
		dec := manifest.NewDecompressor()
		body, err := dec.Unpack(j.base.Changes)
		if err != nil {
			done()
			return nil, nil, fault.Wrap(fault.Usage, err, "", "changes")
		}
		src = manifest.Apply(src, &ordered{src: manifest.NewDecoder(body)})
		prev := done
		done = func() { prev(); dec.Close() }
	}
	return src, done, nil
}

// uploads reads uploaded segments one after the other.
type uploads struct {
	open func(digest.Digest) ([]byte, error)
	ids  []digest.Digest
	dec  *manifest.Decompressor
	body *manifest.Decoder
	ord  manifest.Ordered
}

func (u *uploads) Next(r *manifest.Record) error {
	for {
		if u.body != nil {
			err := u.body.Next(r)
			if err == nil {
				return u.ord.Check(r.Path)
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
		}
		if len(u.ids) == 0 {
			return io.EOF
		}
		frame, err := u.open(u.ids[0])
		if err != nil {
			return err
		}
		u.ids = u.ids[1:]
		if u.dec == nil {
			u.dec = manifest.NewDecompressor()
		}
		body, err := u.dec.Unpack(frame)
		if err != nil {
			return err
		}
		u.body = manifest.NewDecoder(body)
	}
}

// ordered refuses records out of canonical order.
type ordered struct {
	src manifest.Source
	ord manifest.Ordered
}

func (s *ordered) Next(r *manifest.Record) error {
	if err := s.src.Next(r); err != nil {
		return err
	}
	if r.Op == manifest.Note {
		return wire.ErrFrame
	}
	return s.ord.Check(r.Path)
}

// load reads an uploaded segment.
func load(spool store.Spool, module string, id digest.Digest) ([]byte, error) {
	f, err := spool.Open(module, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if f.Size() > wire.MaxUpload {
		return nil, fmt.Errorf("segment of %d bytes", f.Size())
	}
	b := make([]byte, f.Size())
	_, err = f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b, err
}

// run makes the plan.
func (j *planJob) run(ctx context.Context, opts scan.Options) {
	end, err := j.make(ctx, opts)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err != nil:
		if ctx.Err() == nil {
			j.o.cfg.Log("plan of /%s: %v", j.req.Path, err)
		}
		f := wire.Fail{Class: fsys.Class(err).String(), Text: err.Error(), Hint: fault.HintOf(err)}
		j.ending, j.payload = wire.KindFail, f.Marshal()
	case end.Segments == 0:
		j.ending, j.payload = wire.KindUnchanged, end.Marshal()
	default:
		j.ending, j.payload = wire.KindEnd, end.Marshal()
	}
	j.used = time.Now()
	j.notify()
}

func (j *planJob) make(ctx context.Context, opts scan.Options) (wire.End, error) {
	st, mod := j.o.cfg.Store, j.o.cfg.Module
	list, err := st.Manifests().Create(mod)
	if err != nil {
		return wire.End{}, err
	}
	defer list.Cancel()
	name := j.indexName()
	meta := uint64(j.req.Mask)
	if j.req.OmitRoot {
		meta |= 1 << 8
	}
	if j.req.Recursive {
		meta |= 1 << 9
	}
	index, err := st.Indexes().Create(name)
	if err != nil {
		return wire.End{}, err
	}
	defer index.Cancel()
	if old, err := st.Indexes().Open(name); err == nil {
		defer func() { _ = old.Close() }()
		opts.Index = old
		if j.req.Fresh {
			opts.Index = manifest.Distrust(old)
		}
	}
	s := plan.Sender{
		Scan: opts, OmitRoot: j.req.OmitRoot, Fast: j.req.Fast,
		List: list.Put, Index: index.Put,
		Store: func(_ context.Context, id digest.Digest, data []byte) error {
			batch := st.Objects().Begin(mod, j.req.Job)
			defer batch.Cancel()
			return errors.Join(batch.Put(id, data), batch.Sync())
		},
		Emit: j.segment, Work: j.working, Warn: j.warn,
		Remembered: func() (plan.Remembered, bool) { return j.remembered(name, meta) },
	}
	p := j.offerPatch(&s)
	end, err := s.Run(ctx)
	if err != nil {
		return end, err
	}
	if p.declined() && j.o.capture != nil {
		j.o.capture.ahead(wanted{j.req, *j.base})
	}
	if end.Segments == 0 && index.Count() == 0 {
		j.remember(name, end.Tree)
		return end, nil // nothing is new
	}
	if !st.Manifests().Has(mod, end.Tree) {
		if err := list.Commit(end.Tree, 0); err != nil {
			return end, err
		}
	}
	if err := index.Commit(end.Tree, meta); err != nil {
		return end, err
	}
	j.remember(name, end.Tree)
	return end, nil
}

// indexName is that of the index of what the job reads: the tree below each
// path has its own.
func (j *planJob) indexName() string {
	name := j.o.cfg.Module + "/" + j.req.Path
	if j.req.One {
		name += "!"
	}
	return name
}

// offerPatch lets the sender have a patch made, if the receiver has what we
// have, too.
func (j *planJob) offerPatch(s *plan.Sender) *patcher {
	p := j.patcher(s.Scan.Root)
	s.Base = j.openBase
	if p == nil {
		return nil
	}
	s.Base = func(ctx context.Context) (manifest.Source, func(), error) {
		src, done, err := j.openBase(ctx)
		if err != nil || s.Patcher != nil {
			return src, done, err
		}
		if err := j.o.bases.wait(ctx); err == nil && p.known() {
			s.Patcher = p
		}
		return src, done, nil
	}
	return p
}

// remember has what an index lists kept for the next version's sake.
func (j *planJob) remember(index string, tree digest.Digest) {
	if c := j.o.capture; c != nil {
		dir := j.req.Path
		if j.req.One {
			dir = manifest.Parent(dir)
		}
		c.add(listed{index: index, path: dir, tree: tree})
	}
}

// remembered returns the index if it lists what the receiver holds.
func (j *planJob) remembered(name string, meta uint64) (plan.Remembered, bool) {
	indexes := j.o.cfg.Store.Indexes()
	old, err := indexes.Open(name)
	if err != nil {
		return plan.Remembered{}, false
	}
	r := plan.Remembered{Trailer: old.Trailer(), Open: func() (manifest.Source, func(), error) {
		src, err := indexes.Open(name)
		if err != nil {
			return nil, nil, err
		}
		return src, func() { _ = src.Close() }, nil
	}}
	_ = old.Close()
	b := j.base
	ok := !j.req.Fresh && len(b.Uploads) == 0 && len(b.Changes) == 0 && b.Tree == r.Trailer.Tree && r.Trailer.Meta == meta
	return r, ok
}

func (j *planJob) segment(body []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := int64(0)
	if n := len(j.ends); n > 0 {
		at = j.ends[n-1]
	}
	if j.closed {
		return context.Canceled
	}
	if _, err := j.file.WriteAt(body, at); err != nil {
		return err
	}
	j.ends = append(j.ends, at+int64(len(body)))
	j.notify()
	return nil
}

func (j *planJob) working(stage string, files, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.work = wire.Work{Stage: stage, Files: files, Bytes: bytes}
}

// maxWarns bounds the remarks of one plan.
const maxWarns = 1000

func (j *planJob) warn(path, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.warns) < maxWarns {
		j.warns = append(j.warns, wire.Warn{Path: path, Text: text})
	}
}

// stream writes the plan's frames from segment from on, as they come.
func (j *planJob) stream(ctx context.Context, w io.Writer, rc *http.ResponseController, from uint64, needs <-chan *wire.Need) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	write := func(k wire.Kind, payload []byte) bool {
		_ = rc.SetWriteDeadline(time.Now().Add(writeStall))
		return wire.WriteFrame(w, k, payload) == nil
	}
	warned := 0
	for {
		j.mu.Lock()
		wake, ending, payload, work := j.wake, j.ending, j.payload, j.work
		ends, warns := j.ends, j.warns[warned:]
		j.mu.Unlock()
		for ; from < uint64(len(ends)); from++ {
			body, err := j.read(ends, from)
			if err != nil || !write(wire.KindSegment, (&wire.Segment{Index: from, Body: body}).Marshal()) {
				return
			}
		}
		for _, a := range warns {
			if !write(wire.KindWarn, a.Marshal()) {
				return
			}
			warned++
		}
		if ending != 0 {
			write(ending, payload)
			return
		}
		if rc.Flush() != nil {
			return
		}
		select {
		case <-wake:
		case <-tick.C:
			if !write(wire.KindWork, work.Marshal()) {
				return
			}
		case n := <-needs:
			write(wire.KindNeed, n.Marshal())
			return
		case <-ctx.Done():
			return
		}
	}
}

func (j *planJob) read(ends []int64, i uint64) ([]byte, error) {
	at := int64(0)
	if i > 0 {
		at = ends[i-1]
	}
	b := make([]byte, ends[i]-at)
	j.mu.Lock()
	closed := j.closed
	j.mu.Unlock()
	if closed {
		return nil, os.ErrClosed
	}
	_, err := j.file.ReadAt(b, at)
	return b, err
}
