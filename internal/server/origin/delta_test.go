package origin_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/delta/twolevel"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/wire"
)

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (s *site) put(name string, data []byte) {
	s.t.Helper()
	p := filepath.Join(s.src, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, data, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// differ checks what a sync of total changed bytes took.
func (s *site) differ(sum *event.Summary, total, most int64) {
	s.t.Helper()
	s.same()
	s.t.Logf("%d literal, %d reused, %d in, %d out", sum.Literal, sum.Reused, sum.WireIn, sum.WireOut)
	if sum.Literal+sum.Reused != total {
		s.t.Errorf("%d literal and %d reused bytes of %d", sum.Literal, sum.Reused, total)
	}
	if n := sum.WireIn + sum.WireOut; n > most {
		s.t.Errorf("%d bytes on the wire", n)
	}
}

func TestChangedFileCostsItsChanges(t *testing.T) {
	s := newSite(t)
	old := random(1, 9<<20+123)
	s.put("f", old)
	s.sync(nil)
	for _, c := range []struct {
		name string
		now  []byte
		most int64
	}{
		{"front", slices.Concat([]byte("insert"), old), 64 << 10},
		{"edits", func() []byte {
			b := bytes.Clone(old)
			for i := range 20 {
				copy(b[i*400_003+77:], "changed")
			}
			return b
		}(), 100 << 10},
		{"grown", slices.Concat(old, random(5, 100_000)), 180 << 10},
		{"cut", old[1<<20 : 5<<20], 64 << 10},
		{"other", random(3, 5<<20), 6 << 20},
	} {
		s.put("f", c.now)
		t.Log(c.name)
		s.differ(s.sync(nil), int64(len(c.now)), c.most)
	}
}

func TestManyPartsMakeAFile(t *testing.T) {
	s := newSite(t)
	old := random(1, 12<<20)
	s.put("f", old)
	s.sync(nil)
	now := slices.Concat(old[:4<<20], random(2, 14<<20), old[4<<20:])
	s.put("f", now)
	s.differ(s.sync(nil), int64(len(now)), 15<<20)
}

func TestWholeFilesOnRequest(t *testing.T) {
	for _, o := range []func(*job.Options){
		func(o *job.Options) { o.Whole = true },
		func(o *job.Options) { o.Local = true },
	} {
		s := newSite(t)
		old := random(1, 1<<20)
		s.put("f", old)
		s.sync(nil)
		s.put("f", slices.Concat([]byte("x"), old))
		if sum := s.sync(o); sum.Reused != 0 {
			t.Errorf("%d bytes reused", sum.Reused)
		}
		s.same()
	}
	s := newSite(t)
	s.put("f", random(1, 1<<20))
	s.sync(nil)
	s.put("f", append(random(1, 1<<20), 1))
	if sum := s.sync(func(o *job.Options) { o.Local, o.NoWhole = true, true }); sum.Reused == 0 {
		t.Error("nothing reused")
	}
}

func lines(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%d: %s %x\n", b.Len(), strings.Repeat("word ", r.IntN(5)), r.Uint64())
	}
	return b.Bytes()
}

func TestSmallFilesCostTheirChanges(t *testing.T) {
	s := newSite(t)
	const files, size = 600, 4000
	total := int64(0)
	write := func(edit bool) {
		total = 0
		for i := range files {
			b := lines(uint64(i), size+i)
			if edit {
				b = slices.Concat(b[:i*5], []byte("a new line\n"), b[i*5:])
			}
			total += int64(len(b))
			s.put(fmt.Sprintf("d%d/f%d", i%7, i), b)
		}
	}
	write(false)
	first := s.sync(nil)
	write(true)
	s.differ(s.sync(nil), total, (first.WireIn+first.WireOut)/2)
}

// What an older version is not, or no longer, is found by the digests.
func TestChangingOlderVersion(t *testing.T) {
	s := newSite(t)
	old := random(1, 6<<20)
	s.put("f", old)
	s.sync(nil)
	now := slices.Concat([]byte("x"), old)
	s.put("f", now)
	done := make(chan struct{})
	dst := filepath.Join(s.dst, "f")
	go func() {
		defer close(done)
		for i := range 200 {
			f, err := os.OpenFile(dst, os.O_WRONLY, 0)
			if err != nil {
				return
			}
			_, _ = f.WriteAt([]byte("scribble"), int64(i)*30_000)
			_ = f.Close()
		}
	}()
	sum := s.sync(func(o *job.Options) { o.Log = t.Logf })
	<-done
	t.Logf("%d literal, %d reused", sum.Literal, sum.Reused)
	s.sync(nil) // the last scribbles may have hit the new file
	s.same()
}

// Whatever a server answers, the content that lands is that of the plan.
func TestLyingServer(t *testing.T) {
	old := random(1, 2<<20)
	now := slices.Concat([]byte("insert"), old)
	lie := func(parts ...wire.Part) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, p := range parts {
				_ = wire.WriteFrame(w, wire.KindPart, p.Marshal())
			}
			_ = wire.WriteFrame(w, wire.KindDone, nil)
		}
	}
	var wrong []wire.Part
	err := twolevel.Encode(bytes.NewReader(now), int64(len(now)), []twolevel.Copy{{New: 100, Old: 1000, Len: 1 << 20}, {New: 1<<20 + 100, Old: 1<<20 + 94, Len: 1<<20 - 94}}, func(int64) error { return nil }, func(p *twolevel.Part) error {
		wrong = append(wrong, wire.Part{Off: p.Off, Len: p.Len, Data: bytes.Clone(p.Data)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"nothing":  lie(),
		"wrong":    lie(wrong...),
		"garbage":  lie(wire.Part{Len: int64(len(now)), Data: []byte("garbage")}),
		"too long": lie(wire.Part{Len: 1 << 40, Data: []byte("x")}),
		"lost":     lie(wire.Part{Len: int64(len(now)), Object: digest.NewObject([]byte("never stored"))}),
		"refused":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) },
		"gone":     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusGone) },
		"frames":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("not frames at all")) },
		"refine": func(w http.ResponseWriter, _ *http.Request) {
			_ = wire.WriteFrame(w, wire.KindRefine, (&wire.Refine{Ranges: twolevel.MarshalRanges([]twolevel.Range{{Len: 1 << 20}})}).Marshal())
			_ = wire.WriteFrame(w, wire.KindDone, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.put("f", old)
			s.sync(nil)
			s.put("f", now)
			mux := http.NewServeMux()
			mux.Handle("/", s.org.Handler())
			mux.HandleFunc("POST /v1/m/m/delta", answer)
			lanes := lane.Pipe(mux)
			defer func() { _ = lanes.Close() }()
			sum := s.sync(func(o *job.Options) { o.Dial, o.Log = lanes.Dial, t.Logf })
			s.same()
			if sum.Literal+sum.Reused != int64(len(now)) {
				t.Errorf("%d literal, %d reused", sum.Literal, sum.Reused)
			}
		})
	}
}
