package store

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
)

// few is the number of files that are synced one by one; more are synced by
// one syncfs, which also waits for what others write.
const few = 8

// diskSpool is a Spool in a folder.
type diskSpool struct {
	*folder
	sync bool // objects must be synced, as a restart of the machine cannot be told
}

func (s *diskSpool) Begin(module, job string) Batch {
	return &diskBatch{s: s, module: module, job: job}
}

func (s *diskSpool) Open(module string, id digest.Digest) (Object, error) {
	name := nameOf(module, id)
	f, info, err := s.dir.OpenFile(name)
	if err != nil {
		return nil, gone(err)
	}
	s.touch(name, info)
	return &diskObject{f, info.Size}, nil
}

type diskObject struct {
	*os.File
	size int64
}

func (o *diskObject) Size() int64 { return o.size }

func (s *diskSpool) Lease(module, job string, ids ...digest.Digest) (gone []digest.Digest) {
	for _, id := range ids {
		if _, ok := s.lease(nameOf(module, id), job); !ok {
			gone = append(gone, id)
		}
	}
	return gone
}

// lease leases a file and notes its use, if it exists.
func (s *diskSpool) lease(name, job string) (fsys.Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.dir.Lstat(name)
	if err != nil {
		return info, false
	}
	s.leases.add(job, name)
	s.touch(name, info)
	return info, true
}

func (s *diskSpool) Release(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases.release(job)
}

func (s *diskSpool) Sweep(ctx context.Context, now time.Time) (SweepStats, error) {
	return s.sweep(ctx, now)
}

// room reserves size bytes, removing other objects if it must.
func (s *diskSpool) room(size int64) error {
	if s.reserve(size) {
		return nil
	}
	// A tenth more than needed, so that not every object costs a listing.
	if _, err := s.evict(context.Background(), time.Now(), max(0, s.limit-s.limit/10-size)); err != nil {
		return failed(err)
	}
	if s.reserve(size) {
		return nil
	}
	return full(s.limit)
}

func (s *diskSpool) reserve(size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+size > s.limit {
		return false
	}
	s.used += size
	return true
}

func (s *diskSpool) unreserve(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= size
}

// diskBatch writes temporary files, which Sync syncs and renames.
type diskBatch struct {
	s           *diskSpool
	module, job string
	files       []pending
	ids         map[digest.Digest]bool
}

type pending struct {
	temp, name string
	size       int64
}

func (b *diskBatch) Put(id digest.Digest, data []byte) error {
	if err := checkSize(data); err != nil {
		return err
	}
	if b.ids[id] {
		return nil
	}
	name := nameOf(b.module, id)
	if info, ok := b.s.lease(name, b.job); ok && info.Size == int64(len(data)) {
		return nil
	}
	size := int64(len(data))
	if err := b.s.room(size); err != nil {
		return err
	}
	temp, err := b.write(data)
	if err != nil {
		b.s.unreserve(size)
		return failed(err)
	}
	if b.ids == nil {
		b.ids = make(map[digest.Digest]bool)
	}
	b.ids[id] = true
	b.files = append(b.files, pending{temp, name, size})
	return nil
}

func (b *diskBatch) write(data []byte) (string, error) {
	temp, f, err := b.s.create()
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = b.s.dir.Remove(temp)
		return "", err
	}
	return temp, nil
}

func (b *diskBatch) Sync() error {
	defer b.Cancel()
	if len(b.files) == 0 {
		return nil
	}
	if b.s.sync {
		if err := syncFiles(b.s.dir, b.files); err != nil {
			return failed(err)
		}
	}
	for len(b.files) > 0 {
		p := b.files[0]
		if err := b.s.rename(p.temp, p.name, p.size, p.size, b.job); err != nil {
			return failed(err)
		}
		b.files = b.files[1:]
	}
	if !b.s.sync {
		return nil
	}
	return failed(b.s.dir.Sync())
}

func (b *diskBatch) Cancel() {
	for _, p := range b.files {
		_ = b.s.dir.Remove(p.temp)
		b.s.unreserve(p.size)
	}
	b.files, b.ids = nil, nil
}

// syncFiles makes the content of temporary files durable.
func syncFiles(dir *fsys.Dir, files []pending) error {
	if len(files) > few {
		if err := dir.SyncFS(); !errors.Is(err, fsys.ErrUnsupported) {
			return err
		}
	}
	for _, p := range files {
		f, err := dir.OpenFileRW(p.temp)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
