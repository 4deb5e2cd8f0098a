package scan

import (
	"time"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// How much older than a reading of the content the times of a file must be for
// a later write to show in them.
const (
	coarseTick = 2 * time.Second // FAT, and file systems we know nothing of
	fineTick   = 50 * time.Millisecond
)

// StatOf returns the part of info by which an unchanged entry is recognised.
func StatOf(info fsys.Info) manifest.Stat {
	return manifest.Stat{
		Size: info.Size, Sec: info.Sec, Nsec: info.Nsec, CSec: info.CSec, CNsec: info.CNsec,
		Ino: info.Ino, Dev: info.Dev,
	}
}

// Trust returns s if a digest may be remembered under it: the content was read
// from hashedAt on, by the clock of this machine, and s was then so old that a
// write during or after the reading must have changed it. Otherwise it returns
// the zero Stat, which matches nothing, so that the file is read again next
// time. fine is Found.Fine. Systems without change times are never
// trusted: a program can set the modification time to what it was.
//
// What no program of this kind notices: a write while the clock of a file
// server is late against ours, and a write through a shared memory mapping to
// a page that was dirty already when it was read, which moves no time.
func Trust(s manifest.Stat, hashedAt time.Time, fine bool) manifest.Stat {
	tick := coarseTick
	if fine {
		tick = fineTick
	}
	before := hashedAt.Add(-tick)
	if s.CSec == 0 && s.CNsec == 0 ||
		!time.Unix(s.Sec, int64(s.Nsec)).Before(before) || !time.Unix(s.CSec, int64(s.CNsec)).Before(before) {
		return manifest.Stat{}
	}
	return s
}

// Unchanged reports whether an entry whose index record has the Stat old and
// that is now seen with the Stat now is the same, unchanged. Device numbers do
// not count: they may change when a system starts.
func Unchanged(old, now manifest.Stat) bool {
	if old.IsZero() {
		return false
	}
	old.Dev = now.Dev
	return old == now
}
