package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/fsys"
)

// state is what a folder knows without asking the file system.
type state struct {
	mu     sync.Mutex
	used   int64 // bytes of named files, and those reserved for more
	leases leases
}

// stored is a file of a folder.
type stored struct {
	name string
	size int64
	used time.Time
}

// sweep removes old files and, beyond the limit, those used longest ago.
func (f *folder) sweep(ctx context.Context, now time.Time) (SweepStats, error) {
	return f.evict(ctx, now, f.limit)
}

// evict removes files that are older than the folder's age at the time now,
// and then those used longest ago until at most limit bytes are left.
func (f *folder) evict(ctx context.Context, now time.Time, limit int64) (SweepStats, error) {
	var st SweepStats
	files, err := f.list(ctx)
	if err != nil {
		return st, err
	}
	for _, s := range files {
		st.Files++
		st.Bytes += s.size
	}
	var first error
	for _, s := range files {
		if err := ctx.Err(); err != nil {
			return st, err
		}
		if now.Sub(s.used) <= f.age && !f.over(limit) {
			break // the rest was used even later
		}
		removed, err := f.remove(s)
		if first == nil {
			first = err
		}
		if removed {
			st.Removed++
			st.Freed += s.size
			st.Files--
			st.Bytes -= s.size
		}
	}
	return st, first
}

func (f *folder) over(limit int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.limit > 0 && f.used > limit
}

// list returns the files, that used longest ago first.
func (f *folder) list(ctx context.Context) ([]stored, error) {
	var files []stored
	err := f.dir.Names(func(b []byte) error {
		name := string(b)
		if strings.HasPrefix(name, tempPrefix) {
			return nil
		}
		info, err := f.dir.Lstat(name)
		if err == nil {
			files = append(files, stored{name, info.Size, info.ModTime()})
		}
		return ctx.Err()
	})
	slices.SortFunc(files, func(a, b stored) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.name, b.name))
	})
	return files, err
}

// remove removes a file unless it is leased or was used since it was listed.
func (f *folder) remove(s stored) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leases.held(s.name) {
		return false, nil
	}
	info, err := f.dir.Lstat(s.name)
	if err != nil || info.ModTime().After(s.used) {
		return false, ignoreMissing(err)
	}
	if err := f.dir.Remove(s.name); err != nil {
		return false, ignoreMissing(err)
	}
	f.used -= info.Size
	return true, nil
}

func ignoreMissing(err error) error {
	if fsys.IsNotExist(err) {
		return nil
	}
	return err
}

// rename gives a temporary file its name, in place of what had it, and leases
// it to job. Of the file's size, reserved bytes are counted already.
func (f *folder) rename(temp, name string, size, reserved int64, job string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var old int64
	if info, err := f.dir.Lstat(name); err == nil {
		old = info.Size
	}
	if err := f.dir.Rename(temp, f.dir, name); err != nil {
		return err
	}
	f.used += size - reserved - old
	f.leases.add(job, name)
	return nil
}
