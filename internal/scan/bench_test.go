package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// BenchmarkWarm walks 20,000 files whose digests the index knows. With
// ROPEWAY_SCAN_DIR it walks that directory instead.
func BenchmarkWarm(b *testing.B) {
	dir := os.Getenv("ROPEWAY_SCAN_DIR")
	if dir == "" {
		dir = b.TempDir()
		for i := range 200 {
			d := filepath.Join(dir, fmt.Sprintf("directory-%03d", i))
			must(b, os.Mkdir(d, 0o755))
			for j := range 100 {
				must(b, os.WriteFile(filepath.Join(d, fmt.Sprintf("file-%03d.txt", j)), nil, 0o644))
			}
		}
	}
	root, err := fsys.OpenDir(dir)
	must(b, err)
	defer root.Close()
	var index []manifest.Record
	o := Options{Root: root, Recursive: true, Mask: manifest.Perm | manifest.Times | manifest.Owner | manifest.Group | manifest.Links}
	_, err = Walk(b.Context(), o, func(f *Found, _ func() (*os.File, error)) error {
		r := f.Record
		if r.Type == manifest.File {
			r.Digest = digest.Sum([]byte(r.Path))
		}
		r.Stat = Trust(r.Stat, time.Now().Add(time.Hour), false)
		index = append(index, r)
		return nil
	})
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		o.Index = manifest.Slice(index)
		st, err := Walk(b.Context(), o, func(*Found, func() (*os.File, error)) error { return nil })
		must(b, err)
		if st.Known != st.Files {
			b.Fatalf("%d of %d files known", st.Known, st.Files)
		}
	}
	b.ReportMetric(float64(len(index)), "entries")
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
