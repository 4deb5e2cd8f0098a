package plan

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/scan"
)

// found is an entry that outlives the walk's call.
type found struct {
	manifest.Record
	Known  bool
	calm   bool // known, and in nothing else than the index has it
	hidden bool // not an entry: a record that the index is to keep
	trust  bool // the index may keep Stat
}

// warning is a remark about a path that is left out.
type warning struct {
	path, text string
	vanished   bool
}

// batch is a part of what a walk found. It is never changed once it is sent.
type batch struct {
	found []found
	warns []warning
	calm  bool // all of it is as the index has it, and nothing between is gone
}

const (
	batchSize = 256
	// inMemory is how many batches the scans of a server hold in memory: some
	// 100,000 entries, a few tens of MiB.
	inMemory = 400
)

// Memory bounds the entries that scans hold in memory for plans that have not
// come to them yet; the others wait on disk. It is safe for concurrent use.
type Memory struct{ left atomic.Int64 }

// NewMemory returns room for some 100,000 entries.
func NewMemory() *Memory {
	m := &Memory{}
	m.left.Store(inMemory)
	return m
}

func (m *Memory) take() bool {
	if m.left.Add(-1) >= 0 {
		return true
	}
	m.left.Add(1)
	return false
}

// Tree is what a scan reads.
type Tree struct {
	// Options are the walk's; Progress, Warn, Keep and Gone are set by the scan.
	scan.Options
	// Listed describes Options.Index, unless what it lists is not to be
	// believed; Again reads it anew, at any time before Close.
	Listed *manifest.Trailer
	Again  func() (manifest.Source, error)
	// Close frees all of it, once nothing reads it any more.
	Close func()
}

// Scan is one walk that any number of plans read, each from the first entry
// and at its own pace. What the slowest has not read yet is kept in memory
// within bounds, otherwise on disk.
//
// A scan lives as long as somebody has an interest in it: each interest is
// registered by Join and ends with Leave, or with the plan that took it over.
type Scan struct {
	memory *Memory
	temp   func() (*os.File, error)
	tree   Tree

	files, bytes atomic.Int64 // looked at

	mu       sync.Mutex // guards the rest
	wake     chan struct{}
	interest int // of those who may still begin to read
	readers  map[*scanReader]struct{}
	mem      []*batch // in memory, from number first on
	first    int
	spill    spill
	cancel   context.CancelFunc // nil: not begun
	err      error              // of the walk
	ended    bool
	over     bool // nobody is interested any more
	deviates bool // something is not as the index has it
	calm     int64
	skipped  int64
	claimed  bool
}

// NewScan returns a scan that has not begun. temp makes a file without a name.
func NewScan(memory *Memory, temp func() (*os.File, error)) *Scan {
	return &Scan{memory: memory, temp: temp, wake: make(chan struct{}), readers: map[*scanReader]struct{}{}}
}

// Join registers an interest, and reports whether the scan still takes it.
func (s *Scan) Join() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.interest++
	return true
}

// Leave ends an interest.
func (s *Scan) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interest--
	s.settle()
}

// Run opens the tree and walks it. It returns once the walk has ended, or
// nobody is interested any more.
func (s *Scan) Run(ctx context.Context, open func() (Tree, error)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.cancel = cancel
	over := s.over
	s.mu.Unlock()
	var err error
	if !over {
		var tree Tree
		if tree, err = open(); err == nil {
			s.mu.Lock()
			s.tree = tree
			s.mu.Unlock()
			err = s.walk(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.err = true, err
	s.deviates = s.deviates || err != nil || s.tree.Listed == nil || s.calm != s.tree.Listed.Count
	s.settle()
}

// Progress returns how many entries and bytes have been looked at.
func (s *Scan) Progress() (files, bytes int64) { return s.files.Load(), s.bytes.Load() }

// Quiet waits until it is known whether the tree is as the index lists it, and
// returns the index's trailer if so.
func (s *Scan) Quiet(ctx context.Context) (*manifest.Trailer, error) {
	for {
		s.mu.Lock()
		wake, ended, deviates, listed, err := s.wake, s.ended, s.deviates, s.tree.Listed, s.err
		s.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case deviates:
			return nil, nil
		case ended:
			return listed, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Opened waits until the tree is open, and returns it.
func (s *Scan) opened(ctx context.Context) (*Tree, error) {
	for {
		s.mu.Lock()
		wake, err, open := s.wake, s.err, s.tree.Root != nil
		ended := s.ended
		s.mu.Unlock()
		switch {
		case open:
			return &s.tree, nil
		case ended && err == nil:
			return nil, context.Canceled
		case ended:
			return nil, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Claim reports true to the first who asks: one of the plans keeps the index.
func (s *Scan) Claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.claimed
	s.claimed = true
	return first
}

// settle does what follows from a change: batches that all have read are
// dropped, everything is freed after the last. Called with the mutex held.
func (s *Scan) settle() {
	close(s.wake)
	s.wake = make(chan struct{})
	if s.interest > 0 {
		return
	}
	if len(s.readers) == 0 {
		s.over = true
		if s.cancel != nil {
			s.cancel()
		}
		s.drop(len(s.mem))
		if s.ended || s.cancel == nil {
			s.spill.close()
			if s.tree.Close != nil {
				s.tree.Close()
				s.tree.Close = nil
			}
		}
		return
	}
	least := s.first + len(s.mem)
	for r := range s.readers {
		least = min(least, r.at)
	}
	s.drop(least - s.first)
}

// drop forgets the oldest n batches in memory.
func (s *Scan) drop(n int) {
	if n <= 0 {
		return
	}
	clear(s.mem[:n])
	s.mem = s.mem[n:]
	s.first += n
	s.memory.left.Add(int64(n))
}

var errOver = errors.New("nobody waits for the scan any more")

// put adds a batch. It waits while there is no room and a single plan is
// about to make some; otherwise the oldest goes to disk.
func (s *Scan) put(ctx context.Context, b *batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deviates = s.deviates || !b.calm
	s.calm += int64(len(b.found))
	for {
		switch {
		case s.over:
			return errOver
		case s.memory.take():
			s.mem = append(s.mem, b)
			s.settle()
			return nil
		case s.interest > 0 || len(s.readers) > 1 || len(s.mem) == 0:
			old := b
			if len(s.mem) > 0 {
				old = s.mem[0]
			}
			if err := s.spill.put(s.first, old, s.temp); err != nil {
				return err
			}
			if s.first++; len(s.mem) > 0 {
				s.mem = append(s.mem[1:], b)
			}
			s.settle()
			return nil
		}
		wake := s.wake
		s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (s *Scan) walk(ctx context.Context) error {
	opts := s.tree.Options
	cur := &batch{calm: true}
	began := time.Now()
	last := began
	send := func() error {
		b := cur
		cur = &batch{found: make([]found, 0, batchSize), calm: true}
		last = time.Now()
		return s.put(ctx, b)
	}
	opts.Progress = func(files, bytes int64) {
		s.files.Store(files)
		s.bytes.Store(bytes)
	}
	opts.Warn = func(path string, err error) {
		cur.calm = false
		cur.warns = append(cur.warns, warning{strings.Clone(path), fsys.Plain(err), errors.Is(err, fs.ErrNotExist)})
	}
	opts.Gone = func(*manifest.Record) error {
		cur.calm = false
		return nil
	}
	opts.Keep = func(r *manifest.Record) error {
		cur.calm = false
		cur.found = append(cur.found, found{Record: own(r), hidden: true, trust: true})
		return nil
	}
	stats, err := scan.Walk(ctx, opts, func(f *scan.Found, _ func() (*os.File, error)) error {
		one := found{Record: own(&f.Record), Known: f.Known, trust: f.Known}
		if f.Known {
			one.calm = len(f.Old.Ext) == 0 && (f.Path == "" || manifest.SameAttrs(&f.Old.Entry, &f.Entry, opts.Mask))
		} else if f.Type != manifest.File { // files once they are read
			one.trust = !scan.Trust(f.Stat, began, f.Fine).IsZero()
		}
		cur.calm = cur.calm && one.calm
		cur.found = append(cur.found, one)
		if len(cur.found) >= batchSize || len(cur.warns) >= batchSize || time.Since(last) > keepFor {
			return send()
		}
		return nil
	})
	if err == nil {
		err = send()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range stats.Skipped {
		s.skipped += n
	}
	return err
}

// own copies what the walk lends.
func own(r *manifest.Record) manifest.Record {
	c := *r
	c.Path, c.Target, c.Ext = strings.Clone(r.Path), strings.Clone(r.Target), nil
	return c
}

// scanReader reads a scan from its start.
type scanReader struct {
	s  *Scan
	at int // number of the next batch
}

// read turns an interest in the scan into a reader, which is to be closed.
func (s *Scan) read() *scanReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &scanReader{s: s}
	s.readers[r] = struct{}{}
	s.interest--
	return r
}

func (r *scanReader) close() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	delete(r.s.readers, r)
	r.s.settle()
}

// next returns the next batch, which is not to be changed; io.EOF at the end.
func (r *scanReader) next(ctx context.Context) (*batch, error) {
	s := r.s
	for {
		s.mu.Lock()
		wake := s.wake
		switch i := r.at - s.first; {
		case i < 0:
			at, file := s.spill.find(r.at)
			s.mu.Unlock()
			b, err := readBatch(file, at)
			if err != nil {
				return nil, err
			}
			s.mu.Lock()
			r.at++
			s.mu.Unlock()
			return b, nil
		case i < len(s.mem):
			b := s.mem[i]
			r.at++
			if i == 0 {
				s.settle()
			}
			s.mu.Unlock()
			return b, nil
		case s.ended && s.err != nil:
			defer s.mu.Unlock()
			return nil, s.err
		case s.ended:
			s.mu.Unlock()
			return nil, io.EOF
		}
		s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Scan) skippedCount() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.skipped
}
