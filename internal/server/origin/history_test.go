package origin_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/job"
)

// settle has the server remember what it has served.
func (s *site) settle() { s.org.Settle(context.Background()) }

func dear(o *job.Options) { o.MinBytes = true }

// edit changes a few bytes here and there.
func edit(b []byte, seed uint64) []byte {
	b = bytes.Clone(b)
	r := rand.New(rand.NewPCG(seed, 9))
	for range 20 {
		at := r.IntN(len(b) - 8)
		copy(b[at:], fmt.Sprintf("%08d", r.IntN(1e8)))
	}
	return b
}

func TestChangesCrossAsPatch(t *testing.T) {
	s := newSite(t)
	big := random(1, 3<<20)
	s.put("app/big-1.0.bin", big)
	for i := range 50 {
		s.put(fmt.Sprintf("conf/%d", i), lines(uint64(i), 3000))
	}
	s.put("moved/from", random(7, 500<<10))
	s.sync(nil)
	s.settle()

	if err := os.Remove(filepath.Join(s.src, "app/big-1.0.bin")); err != nil {
		t.Fatal(err)
	}
	s.put("app/big-1.1.bin", edit(big, 1)) // renamed and changed
	for i := range 50 {
		s.put(fmt.Sprintf("conf/%d", i), edit(lines(uint64(i), 3000), uint64(i)))
	}
	s.put("twice/a", append(edit(big, 2), 1))
	s.put("twice/b", append(edit(big, 2), 1))
	sum := s.sync(func(o *job.Options) { o.MinBytes, o.Delete = true, true })
	s.same()
	t.Logf("%d literal, %d reused, %d wire", sum.Literal, sum.Reused, sum.WireIn)
	if sum.WireIn > 60<<10 {
		t.Errorf("%d bytes crossed", sum.WireIn)
	}
	if sum = s.sync(nil); !sum.Unchanged {
		t.Errorf("again: %+v", sum)
	}
}

func TestPatchIsMadeOnceForAll(t *testing.T) {
	s := newSite(t)
	old := random(1, 8<<20)
	s.put("f", old)
	s.sync(nil)
	second := &site{t: t, src: s.src, dst: filepath.Join(t.TempDir(), "second"), lanes: s.lanes, org: s.org}
	second.sync(nil)
	s.settle()
	s.put("f", edit(old, 3))
	sum := s.sync(nil) // the link is fast, so nothing is computed while somebody waits
	t.Logf("first: %d wire", sum.WireIn)
	s.settle()
	sum = second.sync(nil)
	t.Logf("second: %d wire", sum.WireIn)
	second.same()
}

// TestWrongBaseFallsBack has the server make its patch from something else than
// what the receiver has.
func TestWrongBaseFallsBack(t *testing.T) {
	s := newSite(t)
	old := random(1, 3<<20)
	s.put("f", old)
	s.put("g", random(2, 300<<10))
	s.sync(nil)
	s.settle()
	kept, err := filepath.Glob(filepath.Join(s.state, "history", "*"))
	if err != nil || len(kept) == 0 {
		t.Fatal(kept, err)
	}
	for _, name := range kept {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b[:len(b)-100] {
			if i%100 == 0 {
				b[i]++
			}
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.put("f", edit(old, 3))
	said := ""
	sum := s.sync(func(o *job.Options) {
		o.MinBytes = true
		o.Log = func(f string, a ...any) { said += fmt.Sprintf(f, a...) }
	})
	s.same()
	if !strings.Contains(said, "the patch does not apply") {
		t.Errorf("it was not noticed: %+v %s", sum, said)
	}
}

func TestNoHistoryNoPatch(t *testing.T) {
	s := newSite(t)
	old := random(1, 1<<20)
	s.put("f", old)
	s.sync(nil)
	s.put("f", edit(old, 3)) // before it was remembered
	s.sync(dear)
	s.same()
}
