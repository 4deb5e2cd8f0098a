package store

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
)

// Spool keeps immutable objects by module and digest for as long as they are
// used. It does not check that a digest names the data: whoever takes data
// from a peer must. It is safe for concurrent use.
type Spool interface {
	// Begin opens a batch of objects of a module. They are leased to the job,
	// unless it is "".
	Begin(module, job string) Batch
	// Open opens an object and counts as use of it. ErrGone if there is none.
	Open(module string, id digest.Digest) (Object, error)
	// Lease keeps objects until Release, and counts as use of them. It returns
	// those that are gone; the others are leased.
	Lease(module, job string, ids ...digest.Digest) (gone []digest.Digest)
	// Release ends all leases of a job.
	Release(job string)
	// Sweep removes what has not been used for too long, or longest ago if
	// there is too much, but nothing leased.
	Sweep(ctx context.Context, now time.Time) (SweepStats, error)
}

// Batch puts objects into a spool. It is not safe for concurrent use. It must
// end with Sync or Cancel.
type Batch interface {
	// Put adds an object; what the spool has is not written again. It fails with
	// fault.Limit if there is no room.
	Put(id digest.Digest, data []byte) error
	// Sync makes the objects available. Only then may they be announced. They
	// outlive the process; whether they outlive the machine is the spool's
	// business, which never yields an object that is not whole. On error some
	// may be available. The batch is empty afterwards and can be used again.
	Sync() error
	// Cancel drops what was not synced. Leases stay.
	Cancel()
}

// Object is an open object. ReadAt is safe for concurrent use.
type Object interface {
	io.ReaderAt
	io.Closer
	// Size is in bytes.
	Size() int64
}

func checkSize(data []byte) error {
	if len(data) > digest.MaxObject {
		return fmt.Errorf("store: object of %d bytes", len(data))
	}
	return nil
}

func full(limit int64) error {
	return fault.New(fault.Limit, "raise the spool's size, or run fewer jobs at once",
		"the spool is full: running jobs need all of its %d bytes", limit)
}

// leases knows which jobs hold what. Its owner locks it.
type leases struct {
	count map[string]int             // by name
	jobs  map[string]map[string]bool // names by job
}

func newLeases() leases {
	return leases{count: make(map[string]int), jobs: make(map[string]map[string]bool)}
}

func (l *leases) add(job, name string) {
	if job == "" || l.jobs[job][name] {
		return
	}
	if l.jobs[job] == nil {
		l.jobs[job] = make(map[string]bool)
	}
	l.jobs[job][name] = true
	l.count[name]++
}

func (l *leases) release(job string) {
	for name := range l.jobs[job] {
		if l.count[name]--; l.count[name] == 0 {
			delete(l.count, name)
		}
	}
	delete(l.jobs, job)
}

func (l *leases) held(name string) bool { return l.count[name] > 0 }
