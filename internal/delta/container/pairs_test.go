package container

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPairs reports what a pair of files costs: ROPEWAY_PAIR=old:new.
func TestPairs(t *testing.T) {
	pair := filepath.SplitList(os.Getenv("ROPEWAY_PAIR"))
	if len(pair) != 2 {
		t.Skip("ROPEWAY_PAIR names no files old:new")
	}
	var files [2]*Layout
	for i, name := range pair {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		fi, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if files[i], err = Parse(f, fi.Size()); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, %d items, parsed in %v", name, fi.Size(), len(files[i].items), time.Since(start))
	}
	start := time.Now()
	d, err := Diff(files[1], files[0])
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	recipe, fresh := d.cost()
	inflated := 0
	for _, u := range d.Fresh {
		if u.Inflate {
			inflated++
		}
	}
	t.Logf("Diff in %v: recipe %d (%d packed), %d fresh units (%d inflated) of %d bytes, %d spare units", took, len(d.Recipe), recipe, len(d.Fresh), inflated, fresh, len(d.Spare))
}
