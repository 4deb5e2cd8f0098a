package land

import (
	"errors"
	"fmt"
	"math"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
)

// Preflight refuses with fault.Limit a job that needs more bytes or more
// objects than the file system of the staged files has left, and where they
// are copied when they land, than that of the destination. Quotas show only
// when writing fails.
func (a *Area) Preflight(bytes, inodes int64) error {
	dirs := []*fsys.Dir{a.root}
	if a.place.missing { // dry run
		dirs[0] = a.place.parent
	}
	if a.stage != nil {
		dirs = append(dirs, a.stage)
	}
	var seen uint64
	for i, d := range dirs {
		info, err := d.Stat()
		if err != nil {
			return wrap(err, "", "cannot look at %s", d.Path())
		}
		if i > 0 && info.Dev == seen {
			continue
		}
		seen = info.Dev
		if err := room(d, bytes, inodes); err != nil {
			return err
		}
	}
	return nil
}

func room(d *fsys.Dir, bytes, inodes int64) error {
	free, objects, err := d.Free()
	if errors.Is(err, fsys.ErrUnsupported) {
		return nil // writing will tell
	} else if err != nil {
		return wrap(err, "", "cannot ask how much room there is in %s", d.Path())
	}
	if bytes > 0 && uint64(bytes) > free {
		return fault.New(fault.Limit, "make room, or name a larger destination",
			"not enough room: %s are needed, %s are free in %s", size(uint64(bytes)), size(free), d.Path())
	}
	if inodes > 0 && objects != math.MaxUint64 && uint64(inodes) > objects {
		return fault.New(fault.Limit, "remove files there, or name another destination",
			"not enough room: %d files and directories are needed, the file system has inodes for %d more in %s", inodes, objects, d.Path())
	}
	return nil
}

// size writes bytes for people.
func size(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		if v /= 1000; v < 999.95 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
