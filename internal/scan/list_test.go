package scan

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// feed yields names as a directory does.
func feed(names []string) func(func([]byte) error) error {
	return func(fn func([]byte) error) error {
		for _, n := range names {
			if err := fn([]byte(n)); err != nil {
				return err
			}
		}
		return nil
	}
}

// passes reads all names, as the walk does, and returns how often it took.
func passes(t testing.TB, l *list, each func(func([]byte) error) error, long func([]byte)) (got []string, n int) {
	var after []byte
	for n = 1; ; n++ {
		must(t, l.read(each, after, func(int) {}, long))
		for i := range l.len() {
			got = append(got, string(l.name(i)))
		}
		if !l.more {
			return got, n
		}
		after = []byte(got[len(got)-1])
	}
}

func TestListSorts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var names []string
	for range 30_000 {
		b := make([]byte, 1+r.IntN(12)*r.IntN(22))
		for i := range b {
			b[i] = byte(1 + r.IntN(255))
		}
		names = append(names, string(b), string(b[:1+r.IntN(len(b))])) // some twice
	}
	long := strings.Repeat("l", 256)
	for _, c := range []struct{ names, limit int }{
		{200, 1}, {10_000, 5000}, {len(names), 100_000}, {len(names), 2_000_000}, {len(names), defaultMaxNames},
	} {
		some := append(names[:c.names:c.names], long)
		want := slices.Compact(slices.Sorted(slices.Values(names[:c.names])))
		longs := 0
		got, n := passes(t, &list{limit: c.limit}, feed(some), func(b []byte) {
			if longs++; string(b) != long {
				t.Errorf("%q is too long", b)
			}
		})
		if !slices.Equal(got, want) || longs != 1 {
			t.Errorf("limit %d: %d names, want %d; %d too long", c.limit, len(got), len(want), longs)
		}
		if c.limit == defaultMaxNames && n != 1 || c.limit == 1 && n != len(want) {
			t.Errorf("limit %d: %d passes for %d names", c.limit, n, len(want))
		}
	}
	boom := errors.New("boom")
	var l list
	if err := l.read(func(func([]byte) error) error { return boom }, nil, func(int) {}, nil); !errors.Is(err, boom) {
		t.Error(err)
	}
}

func TestListMemory(t *testing.T) {
	n := 2_000_000
	if testing.Short() {
		n = 200_000
	}
	buf := make([]byte, 0, 64)
	each := func(fn func([]byte) error) error {
		for i := range n {
			if err := fn(fmt.Appendf(buf[:0], "some-name-%010d.txt", (i+1)*7919%n)); err != nil {
				return err
			}
		}
		return nil
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := &list{limit: defaultMaxNames}
	must(t, l.read(each, nil, func(int) {}, nil))
	runtime.ReadMemStats(&now) // no collection: what was thrown away counts as well
	if grown := now.HeapAlloc - before.HeapAlloc; grown > 100<<20 {
		t.Errorf("%d names hold %d bytes", n, grown)
	} else {
		t.Logf("%d names hold %d bytes", n, grown)
	}
	if l.len() != n || !slices.IsSortedFunc(l.at, func(a, b uint32) int { return bytes.Compare(l.get(a), l.get(b)) }) {
		t.Errorf("%d names", l.len())
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte("b a a.b a- c"), 4)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		names := strings.Fields(string(data))
		names = slices.DeleteFunc(names, func(s string) bool { return len(s) > 255 })
		got, _ := passes(t, &list{limit: limit & 0xfff}, feed(names), nil)
		if want := slices.Compact(slices.Sorted(slices.Values(names))); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
