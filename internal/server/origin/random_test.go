package origin_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/job"
)

// mutate changes a tree at random, as editors, builds and people do.
func mutate(t *testing.T, r *rand.Rand, root string, n int) {
	t.Helper()
	var all []string
	_ = filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, p)
		if err == nil && rel != "." && rel != ".ropeway" && !strings.HasPrefix(rel, ".ropeway/") {
			all = append(all, p)
		}
		return nil
	})
	pick := func() string {
		if len(all) == 0 {
			return root
		}
		return all[r.IntN(len(all))]
	}
	dirOf := func(p string) string {
		if i, err := os.Lstat(p); err == nil && i.IsDir() {
			return p
		}
		return filepath.Dir(p)
	}
	data := func(size int) []byte {
		b := make([]byte, size)
		word := []byte(fmt.Sprintf("line %d of text; ", r.IntN(1000)))
		for i := range b {
			b[i] = word[i%len(word)]
			if r.IntN(9) == 0 {
				b[i] = byte(r.Uint32())
			}
		}
		return b
	}
	sizes := []int{0, 1, 60, 65, 1000, 65536, 65537, 262144, 262145, 400000, 4 << 20, 4<<20 + 5}
	names := []string{"a", "b.txt", "c d", "ä", "x\xff", "new\nline", "-f", "lib"}
	for range n {
		p := pick()
		fresh := filepath.Join(dirOf(p), fmt.Sprintf("%s%d", names[r.IntN(len(names))], r.IntN(6)))
		switch r.IntN(11) {
		case 0, 1, 2:
			_ = os.RemoveAll(fresh)
			_ = os.WriteFile(fresh, data(sizes[r.IntN(len(sizes))]), os.FileMode(r.IntN(0o1000)))
		case 3:
			_ = os.Mkdir(fresh, os.FileMode(0o700|r.IntN(0o100)))
		case 4:
			if p != root {
				_ = os.RemoveAll(p)
			}
		case 5:
			if p != root && !strings.HasPrefix(fresh, p+"/") {
				_ = os.Rename(p, fresh)
			}
		case 6:
			_ = os.Symlink([]string{"a0", "../b", "/etc/passwd", "."}[r.IntN(4)], fresh)
		case 7:
			if i, err := os.Lstat(p); err == nil && i.Mode().IsRegular() {
				b, _ := os.ReadFile(p)
				if len(b) > 0 {
					b[r.IntN(len(b))] ^= 1
				}
				_ = os.WriteFile(p, b, 0)
			}
		case 8:
			if i, err := os.Lstat(p); err == nil && i.Mode()&os.ModeSymlink == 0 {
				_ = os.Chmod(p, os.FileMode(0o700|r.IntN(0o100)))
			}
		case 9:
			at := time.Unix(r.Int64N(2e9), r.Int64N(1e9))
			if i, err := os.Lstat(p); err == nil && i.Mode()&os.ModeSymlink == 0 {
				_ = os.Chtimes(p, at, at)
			}
		case 10:
			if i, err := os.Lstat(p); err == nil && i.Mode().IsRegular() {
				b, _ := os.ReadFile(p)
				_ = os.RemoveAll(fresh)
				_ = os.WriteFile(fresh, b, 0o644)
			}
		}
	}
}

// clean asks the true rsync whether anything differs.
func (s *site) clean(args ...string) {
	s.t.Helper()
	if _, err := exec.LookPath("rsync"); err != nil {
		s.t.Skip("rsync is not installed")
	}
	args = append([]string{"-aXnic", "--delete", "--exclude=/.ropeway"}, args...)
	out, err := exec.Command("rsync", append(args, s.src+"/", s.dst+"/")...).CombinedOutput()
	if err != nil || len(out) > 0 {
		s.t.Errorf("rsync finds differences (%v):\n%.2000s", err, out)
	}
}

// TestRandomTreesAndChanges syncs trees that change at random on both sides.
// What ropeway leaves, the true rsync must find nothing to do with.
func TestRandomTreesAndChanges(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 77))
			s := newSite(t)
			for step := range 5 {
				mutate(t, r, s.src, 40)
				if step > 0 {
					mutate(t, r, s.dst, r.IntN(12))
				}
				s.sync(func(o *job.Options) { o.Delete = true })
				s.same()
				s.clean()
				if t.Failed() {
					t.Fatalf("at step %d", step)
				}
				if sum := s.sync(func(o *job.Options) { o.Delete = true }); !sum.Unchanged || sum.Literal > 0 {
					t.Fatalf("step %d: again: %+v", step, sum)
				}
			}
		})
	}
}
