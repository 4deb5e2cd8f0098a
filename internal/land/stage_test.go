package land

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

func TestStagingSurvives(t *testing.T) {
	src, dst := dirs(t, before, fstest.Spec{"big": fstest.Random(300_000, 1).Mode(0o400)})
	data, err := os.ReadFile(filepath.Join(src, "big"))
	if err != nil {
		t.Fatal(err)
	}
	e := record(t, src, "big").Entry
	o := Options{Dest: dst, Mask: all}
	open := func() *Area {
		a, err := Open(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open()
	s, err := a.Stage("big", e.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ranges(func(int64, int64) error { t.Error("a new file has ranges"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt(data[131072:196608], 131072); err != nil {
		t.Fatal(err)
	}
	a.release() // as a kill would
	a = open()
	if a.StagedComplete(context.Background(), &e) {
		t.Error("complete")
	}
	if s, err = a.Stage("big", e.Size); err != nil {
		t.Fatal(err)
	}
	covered := int64(0)
	err = s.Ranges(func(start, end int64) error {
		if start <= 131072 && end >= 196608 {
			covered += end - start
		}
		return nil
	})
	if err != nil || covered == 0 {
		t.Error("ranges", covered, err)
	}
	got := make([]byte, 65536)
	if _, err := s.ReadAt(got, 131072); err != nil || !slices.Equal(got, data[131072:196608]) {
		t.Error("content is not kept", err)
	}
	if _, err := s.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(&e); err != nil {
		t.Fatal(err)
	}
	a.release()
	a = open()
	if !a.StagedComplete(context.Background(), &e) {
		t.Error("not complete")
	}
	// A smaller file takes the place, then the staged one is dropped.
	if s, err = a.Stage("big", 10); err != nil {
		t.Fatal(err)
	}
	if a.StagedComplete(context.Background(), &e) {
		t.Error("complete though cut")
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	id := digest.Sum([]byte("pack"))
	if s, err = a.Object(id, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt([]byte("pack"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a.release()
	a = open()
	defer a.Close()
	if s, err = a.Object(id, 4); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if b, err := io.ReadAll(io.NewSectionReader(s, 0, 4)); string(b) != "pack" {
		t.Error("object is not kept", err)
	}
}

func TestStageCopy(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"a/old": fstest.Random(200_000, 3), "link": fstest.Link("a/old")},
		fstest.Spec{"b/new": fstest.Random(200_000, 3).At(5, 6)})
	ctx := context.Background()
	j := newJob(t, src, dst)
	a, err := Open(ctx, j.o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.leftover = true // as a later run sees it
	e := record(t, src, "b/new").Entry
	n, err := a.StageCopy(ctx, &e, "a/old")
	if err != nil || n != e.Size {
		t.Fatal(n, err)
	}
	if !a.StagedComplete(ctx, &e) {
		t.Error("not staged")
	}
	bad := e
	bad.Digest[0] ^= 1
	for _, c := range []struct {
		e    manifest.Entry
		from string
	}{{bad, "a/old"}, {e, "missing"}, {e, "link"}, {e, "a"}, {e, ""}, {e, "../src/b/new"}, {e, StateDir + "/lock"}} {
		if _, err := a.StageCopy(ctx, &c.e, c.from); !errors.Is(err, ErrMismatch) {
			t.Errorf("copy from %q: %v", c.from, err)
		}
	}
	if a.StagedComplete(ctx, &e) {
		t.Error("a failed copy left something")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.StageCopy(cancelled, &e, "a/old"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPreflight(t *testing.T) {
	a, err := Open(context.Background(), Options{Dest: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Preflight(1000, 10); err != nil {
		t.Error(err)
	}
	if err := a.Preflight(1<<60, 10); fault.ClassOf(err) != fault.Limit || !strings.Contains(err.Error(), "1.2 EB are needed") {
		t.Error(err)
	}
}

func TestTempDir(t *testing.T) {
	src, dst := dirs(t, before, after)
	tmp := t.TempDir()
	j := newJob(t, src, dst)
	j.o.TempDir = tmp
	a, err := Open(context.Background(), j.o)
	if err != nil {
		t.Fatal(err)
	}
	e := record(t, src, "content").Entry
	if err := a.StageBytes(&e, []byte("newer")); err != nil {
		t.Fatal(err)
	}
	a.release()
	if got, _ := filepath.Glob(filepath.Join(tmp, "ropeway-*", "f-*")); len(got) != 1 {
		t.Error("staged elsewhere", got)
	}
	j.how = "staged"
	j.must()
	same(t, src, dst)
}

func TestConcurrentStaging(t *testing.T) {
	src, dst := dirs(t, fstest.Spec{"d/f003": fstest.File("old").Mode(0o600)}, fstest.Spec{})
	ctx := context.Background()
	for _, mask := range []manifest.Mask{all, manifest.Links} {
		a, err := Open(ctx, Options{Dest: dst, Mask: mask})
		if err != nil {
			t.Fatal(err)
		}
		a.leftover = true // as a later run sees it
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := w; i < 40; i += 4 {
					data := fmt.Appendf(nil, "content %d", i)
					e := manifest.Entry{Path: fmt.Sprintf("d/f%03d", i), Type: manifest.File, Mode: 0o644, Size: int64(len(data)), Digest: digest.Sum(data)}
					if err := a.StageBytes(&e, data); err != nil {
						t.Error(err)
					}
					if !a.StagedComplete(ctx, &e) {
						t.Error("not complete")
					}
				}
			})
		}
		wg.Wait()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	_ = src
}

// TestClosedFile lands a file that not even its owner may open, also where it
// must be opened to be synced or copied.
func TestClosedFile(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		_, dst := dirs(t, fstest.Spec{}, fstest.Spec{})
		ctx := context.Background()
		a, err := Open(ctx, Options{Dest: dst, Mask: all, Atomic: atomic, noSyncFS: true})
		if err != nil {
			t.Fatal(err)
		}
		e := manifest.Entry{Path: "closed", Type: manifest.File, Sec: 1, Size: 1, Digest: digest.Sum([]byte("x"))}
		if err := a.StageBytes(&e, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := a.Add(&Op{Kind: OpFile, Entry: e}); err != nil {
			t.Fatal(err)
		}
		root := manifest.Entry{Type: manifest.Dir, Mode: 0o755}
		res, err := a.Land(ctx, manifest.Slice([]manifest.Record{{Entry: root}, {Entry: e}}), e.Digest, 0)
		if err != nil || res.Failed > 0 {
			t.Error(res, err)
		}
		if info, err := os.Stat(filepath.Join(dst, "closed")); err != nil || info.Mode() != 0 || info.Size() != 1 {
			t.Error(info, err)
		}
		a.Close()
	}
}
