package origin_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/job"
)

func (s *site) write(name string, data []byte) {
	s.t.Helper()
	p := filepath.Join(s.src, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (s *site) has(name string, want bool) {
	s.t.Helper()
	_, err := os.Lstat(filepath.Join(s.dst, name))
	if (err == nil) != want {
		s.t.Errorf("%s in the destination: %v", name, err)
	}
}

func del(o *job.Options) { o.Delete = true }

func TestMovedAndCopiedFilesCostAPath(t *testing.T) {
	s := newSite(t)
	big, small := noise(3<<20, 1), noise(9000, 2)
	s.write("a/big", big)
	s.write("a/small", small)
	s.sync(nil)
	if err := os.Rename(filepath.Join(s.src, "a"), filepath.Join(s.src, "b")); err != nil {
		t.Fatal(err)
	}
	s.write("copy", big)
	sum := s.sync(del)
	s.same()
	if sum.Literal != 0 || sum.Moved != 3 || sum.Reused != int64(2*len(big)+len(small)) || sum.WireIn > 4000 {
		t.Errorf("%+v", sum)
	}
}

func TestSmallUpgradeIsOneExchange(t *testing.T) {
	s := newSite(t)
	for i := range 300 {
		s.write(filepath.Join("d", string(rune('a'+i%20)), string(rune('a'+i/20))), noise(4000, uint64(i)))
	}
	s.sync(nil)
	s.write("d/a/a", []byte("a small change of a small file, and nothing else at all"))
	sum := s.sync(nil)
	if sum.WireIn > 1000 || sum.WireOut > 1000 {
		t.Errorf("a small upgrade costs %d in, %d out", sum.WireIn, sum.WireOut)
	}
	s.same()
	sum = s.sync(nil)
	if !sum.Unchanged || sum.WireIn+sum.WireOut > 1000 {
		t.Errorf("no change costs %d in, %d out", sum.WireIn, sum.WireOut)
	}
	t.Logf("no change: %d bytes in, %d out", sum.WireIn, sum.WireOut)
}

func TestExtrasStayWithoutDelete(t *testing.T) {
	s := newSite(t)
	s.write("keep", []byte("1"))
	s.sync(nil)
	mine := filepath.Join(s.dst, "mine", "file")
	_ = os.MkdirAll(filepath.Dir(mine), 0o755)
	if err := os.WriteFile(mine, noise(200000, 5), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sync(nil)
	s.has("mine/file", true)
	sum := s.sync(nil)
	if !sum.Unchanged || sum.WireOut > 1000 {
		t.Errorf("extras are told again: %+v", sum)
	}
	// What the source brings and the destination has by chance is not sent.
	s.write("mine/file", noise(200000, 5))
	sum = s.sync(nil)
	if sum.Literal != 0 {
		t.Errorf("%d bytes sent of what is there", sum.Literal)
	}
	_ = os.RemoveAll(filepath.Join(s.src, "mine"))
	s.sync(nil)
	s.has("mine/file", true)
	s.sync(del)
	s.has("mine", false)
	s.same()
}

func TestFilterHidesAndProtects(t *testing.T) {
	s := newSite(t)
	var b filter.Builder
	if err := errors.Join(b.Exclude("*.log"), b.Exclude("/cache/")); err != nil {
		t.Fatal(err)
	}
	set, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	s.write("a.txt", []byte("a"))
	s.write("x.log", []byte("x"))
	s.write("cache/c", []byte("c"))
	opts := func(o *job.Options) { o.Filter, o.Delete = set, true }
	s.sync(opts)
	s.has("a.txt", true)
	s.has("x.log", false)
	s.has("cache", false)
	_ = os.WriteFile(filepath.Join(s.dst, "own.log"), []byte("own"), 0o644)
	_ = os.WriteFile(filepath.Join(s.dst, "own.txt"), []byte("own"), 0o644)
	s.sync(opts)
	s.has("own.log", true)
	s.has("own.txt", false)
	// Without the filter all of it comes, and goes.
	s.sync(del)
	s.has("own.log", false)
	s.same()
}

func TestDryRunChangesNothing(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(300000, 1))
	var mu sync.Mutex
	var items []string
	dry := func(o *job.Options) {
		o.DryRun, o.Delete = true, true
		o.Events = func(e event.Event) {
			if i, ok := e.(event.Item); ok {
				mu.Lock()
				items = append(items, i.Change+" "+i.Path)
				mu.Unlock()
			}
		}
	}
	sum := s.sync(dry)
	if _, err := os.Stat(s.dst); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dry run made the destination: %v", err)
	}
	if len(items) != 2 || items[1] != ">f+++++++++ a" || sum.Transferred != 1 || sum.WireIn > 2000 {
		t.Errorf("%q %+v", items, sum)
	}
	s.sync(nil)
	_ = os.WriteFile(filepath.Join(s.dst, "mine"), nil, 0o644)
	s.write("a", []byte("changed"))
	items = nil
	s.sync(dry)
	s.has("mine", true)
	if b, _ := os.ReadFile(filepath.Join(s.dst, "a")); len(b) != 300000 {
		t.Error("a dry run changed a file")
	}
	t.Logf("%q", items)
}

func TestMaxDelete(t *testing.T) {
	s := newSite(t)
	s.write("a", []byte("a"))
	s.sync(nil)
	for _, n := range []string{"1", "2", "3"} {
		_ = os.WriteFile(filepath.Join(s.dst, n), nil, 0o644)
	}
	o := s.options()
	o.Delete, o.MaxDelete = true, 2
	sum, err := job.Run(context.Background(), o)
	if fault.ClassOf(err) != fault.Limit || sum == nil || sum.Deleted != 2 {
		t.Errorf("%v, %+v", err, sum)
	}
	s.sync(del)
	s.same()
}

func TestOneEntry(t *testing.T) {
	s := newSite(t)
	s.write("app.jar", noise(500000, 3))
	s.write("dir/x", []byte("x"))
	s.write("other", []byte("o"))
	if err := os.MkdirAll(s.dst, 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.WriteFile(filepath.Join(s.dst, "mine"), []byte("m"), 0o644)
	one := func(name string) func(*job.Options) {
		return func(o *job.Options) { o.Path, o.One, o.OmitRoot, o.Delete = name, true, true, true }
	}
	s.sync(one("app.jar"))
	s.sync(one("dir"))
	s.has("app.jar", true)
	s.has("dir/x", true)
	s.has("mine", true)
	s.has("other", false)
	_ = os.Remove(filepath.Join(s.src, "dir/x"))
	s.write("dir/y", []byte("y"))
	s.sync(one("dir"))
	s.has("dir/x", false)
	s.has("dir/y", true)
	s.has("mine", true)
}

func TestEarlyLanding(t *testing.T) {
	s := newSite(t)
	mutate(t, rand.New(rand.NewPCG(3, 3)), s.src, 60)
	early := func(o *job.Options) { o.Early, o.Delete = true, true }
	s.sync(early)
	s.same()
	mutate(t, rand.New(rand.NewPCG(4, 3)), s.src, 60)
	s.sync(early)
	s.same()
	s.clean()
}

func TestAtomicLanding(t *testing.T) {
	s := newSite(t)
	r := rand.New(rand.NewPCG(5, 3))
	atomic := func(o *job.Options) { o.Atomic, o.Delete = true, true }
	for range 3 {
		mutate(t, r, s.src, 60)
		s.sync(atomic)
		s.same()
		s.clean()
	}
}

// TestSourceChangesMeanwhile rewrites files while they are synced. Whatever
// arrives is one state of each file.
func TestSourceChangesMeanwhile(t *testing.T) {
	s := newSite(t)
	versions := [][]byte{bytes.Repeat([]byte("version one, "), 500000), bytes.Repeat([]byte("VERSION TWO; "), 500000)}
	for i := range 6 {
		s.write(filepath.Join("d", string(rune('a'+i))), versions[0])
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			p := filepath.Join(s.src, "d", string(rune('a'+i%3)))
			_ = os.WriteFile(p+".new", versions[i%2], 0o644)
			_ = os.Rename(p+".new", p)
		}
	})
	for range 3 {
		o := s.options()
		o.Delete = true
		_, err := job.Run(context.Background(), o)
		if c := fault.ClassOf(err); c != fault.OK && c != fault.Partial {
			t.Fatal(err)
		}
		for i := range 6 {
			b, err := os.ReadFile(filepath.Join(s.dst, "d", string(rune('a'+i))))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if !bytes.Equal(b, versions[0]) && !bytes.Equal(b, versions[1]) {
				t.Fatalf("file %d is neither version (%d bytes)", i, len(b))
			}
		}
	}
	close(stop)
	wg.Wait()
	s.sync(del)
	s.same()
}

func TestTwoSyncsIntoOneDestination(t *testing.T) {
	s := newSite(t)
	s.write("a", noise(1<<20, 1))
	gate, opened := make(chan struct{}), make(chan struct{}, 100)
	first := s.options()
	dial := first.Dial
	first.Holder = "ropeway sync, process 7 on build1"
	first.Dial = func(ctx context.Context) (c jobConn, err error) {
		opened <- struct{}{}
		<-gate
		return dial(ctx)
	}
	done := make(chan error, 1)
	go func() {
		_, err := job.Run(context.Background(), first)
		done <- err
	}()
	<-opened
	_, err := job.Run(context.Background(), s.options())
	if fault.ClassOf(err) != fault.Busy || !strings.Contains(err.Error(), "process 7 on build1") {
		t.Errorf("the second sync: %v", err)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.same()
}

// TestServerForgetsThePlan replaces the server, with all its memory, while the
// plan is under way.
func TestServerForgetsThePlan(t *testing.T) {
	s := newSite(t)
	for i := range 40 {
		s.write(filepath.Join("d", string(rune('a'+i))), noise(1<<20, uint64(i)))
	}
	second := newSiteAt(t, s.src)
	o := s.options()
	var dials int
	first := s.lanes.Dial
	o.Lanes = 1
	o.Dial = func(ctx context.Context) (jobConn, error) {
		dials++
		if dials > 1 {
			return second.lanes.Dial(ctx)
		}
		c, err := first(ctx)
		if err == nil {
			go func() {
				for c.In() < 3<<20 {
					select {
					case <-c.Done():
						return
					case <-time.After(time.Millisecond):
					}
				}
				c.Close(errors.New("the server is gone"))
			}()
		}
		return c, err
	}
	if _, err := job.Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	s.same()
	if dials < 2 {
		t.Error("the first server did it all")
	}
}

// TestInPlaceChangesCostTheirBlocks changes a large file in place over a link
// that is too fast for differences.
func TestInPlaceChangesCostTheirBlocks(t *testing.T) {
	s := newSite(t)
	data := noise(20<<20, 1)
	s.write("db", data)
	s.sync(nil)
	copy(data[5<<20:], noise(100000, 2))
	data = append(data, noise(70000, 3)...)
	s.write("db", data)
	sum := s.sync(func(o *job.Options) { o.Local = true })
	s.same()
	if sum.Literal > 6*65536 || sum.Reused < 19<<20 {
		t.Errorf("%+v", sum)
	}
}
