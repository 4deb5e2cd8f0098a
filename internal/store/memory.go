package store

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
)

// NewMemory returns a Spool in memory, of at most limit bytes, whose objects
// are kept for age after their last use.
func NewMemory(limit int64, age time.Duration) Spool {
	return &memory{limit: limit, age: age, objects: make(map[string]*memObject), leases: newLeases()}
}

type memory struct {
	limit int64
	age   time.Duration

	mu      sync.Mutex
	objects map[string]*memObject
	used    int64 // bytes, those of batches included
	leases  leases
}

type memObject struct {
	data []byte
	used time.Time
}

func (m *memory) Begin(module, job string) Batch {
	return &memBatch{m: m, module: module, job: job, objects: make(map[string][]byte)}
}

func (m *memory) Open(module string, id digest.Digest) (Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[nameOf(module, id)]
	if o == nil {
		return nil, ErrGone
	}
	o.used = time.Now()
	return memReader{bytes.NewReader(o.data)}, nil
}

type memReader struct{ *bytes.Reader }

func (memReader) Close() error { return nil }

func (m *memory) Lease(module, job string, ids ...digest.Digest) (gone []digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		name := nameOf(module, id)
		if o := m.objects[name]; o != nil {
			o.used = time.Now()
			m.leases.add(job, name)
		} else {
			gone = append(gone, id)
		}
	}
	return gone
}

func (m *memory) Release(job string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leases.release(job)
}

func (m *memory) Sweep(ctx context.Context, now time.Time) (SweepStats, error) {
	if err := ctx.Err(); err != nil {
		return SweepStats{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.evict(now, m.limit), nil
}

// evict removes old objects and, until at most limit bytes are used, those
// used longest ago.
func (m *memory) evict(now time.Time, limit int64) (st SweepStats) {
	names := make([]string, 0, len(m.objects))
	for name := range m.objects {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(m.objects[a].used.Compare(m.objects[b].used), cmp.Compare(a, b))
	})
	for _, name := range names {
		o := m.objects[name]
		if !m.leases.held(name) && (now.Sub(o.used) > m.age || m.used > limit) {
			delete(m.objects, name)
			m.used -= int64(len(o.data))
			st.Removed++
			st.Freed += int64(len(o.data))
			continue
		}
		st.Files++
		st.Bytes += int64(len(o.data))
	}
	return st
}

type memBatch struct {
	m           *memory
	module, job string
	objects     map[string][]byte
}

func (b *memBatch) Put(id digest.Digest, data []byte) error {
	if err := checkSize(data); err != nil {
		return err
	}
	m := b.m
	name := nameOf(b.module, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.objects[name]; o != nil {
		o.used = time.Now()
		m.leases.add(b.job, name)
		return nil
	}
	if b.objects[name] != nil {
		return nil
	}
	size := int64(len(data))
	if m.used+size > m.limit {
		m.evict(time.Now(), max(0, m.limit-size))
	}
	if m.used+size > m.limit {
		return full(m.limit)
	}
	m.used += size
	b.objects[name] = append(make([]byte, 0, size), data...)
	return nil
}

func (b *memBatch) Sync() error {
	m := b.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, data := range b.objects {
		if m.objects[name] != nil { // another batch was faster
			m.used -= int64(len(data))
		} else {
			m.objects[name] = &memObject{data: data}
		}
		m.objects[name].used = time.Now()
		m.leases.add(b.job, name)
	}
	clear(b.objects)
	return nil
}

func (b *memBatch) Cancel() {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	for _, data := range b.objects {
		b.m.used -= int64(len(data))
	}
	clear(b.objects)
}
