package patch

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
)

func dirTree(root string) Tree {
	t := Tree{Open: func(p string) (Source, error) { return os.Open(filepath.Join(root, p)) }}
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if d.Type().IsRegular() {
			b, _ := os.ReadFile(p)
			rel, _ := filepath.Rel(root, p)
			t.Files = append(t.Files, File{rel, int64(len(b)), digest.Sum(b)})
		}
		return nil
	})
	Sort(t.Files)
	if st, _ := os.Stat(root); st.Mode().IsRegular() {
		t.Files[0].Path = "f"
		t.Open = func(p string) (Source, error) { return os.Open(root) }
	}
	return t
}

func TestLab(t *testing.T) {
	if os.Getenv("LAB") == "" {
		t.Skip()
	}
	for _, pair := range strings.Fields(os.Getenv("LAB")) {
		a, b, _ := strings.Cut(pair, ":")
		old, fresh := dirTree(a), dirTree(b)
		t0 := time.Now()
		p, err := New(t.Context(), old, fresh, Options{})
		if err != nil {
			t.Fatal(err)
		}
		h := p.Head()
		t1 := time.Now()
		m := &made{head: h}
		dict := ""
		for i := range p.Windows() {
			w, err := p.Window(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			m.windows = append(m.windows, w.Coded)
			if w.Costs[0].Dict {
				dict += "d"
			} else {
				dict += "s"
			}
		}
		t2 := time.Now()
		hh, err := ParseHead(h)
		if err != nil {
			t.Fatal(err)
		}
		ap := NewApplier(hh, old.Open)
		for i := range hh.Targets {
			f, _ := os.Create("/tmp/dpairs/out")
			if _, err := ap.Target(t.Context(), i, m.get, f); err != nil {
				t.Error(err)
			}
			f.Close()
		}
		t3 := time.Now()
		raw := 0
		for _, x := range hh.Targets {
			raw += len(x.recipe)
		}
		fmt.Printf("%s: targets %d origins %d fresh %d left %d windows %d %s; head %d (recipes raw %d) total %d; plan %.2fs windows %.2fs apply %.2fs\n", filepath.Base(b), len(hh.Targets), len(hh.Origins), hh.Fresh(), p.left.size, p.Windows(), dict, len(h), raw, m.size(), t1.Sub(t0).Seconds(), t2.Sub(t1).Seconds(), t3.Sub(t2).Seconds())
	}
}
