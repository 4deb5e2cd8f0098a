package patch

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/ropeway/ropeway/internal/delta/container"
	"github.com/ropeway/ropeway/internal/digest"
)

// TestGolden holds the encoding: a patch that was once made still applies. A
// new one may look otherwise.
func TestGolden(t *testing.T) {
	old := memory{"a.txt": []byte("one two three four five six seven"), "b-1.txt": []byte("gone"), "c": []byte("stays")}
	fresh := memory{"a.txt": []byte("one two three 4 five six seven"), "b-2.txt": []byte("new and gone"), "c": []byte("stays"), "d": []byte("stays")}
	head, err := hex.DecodeString(goldenHead)
	if err != nil {
		t.Fatal(err)
	}
	window, err := hex.DecodeString(goldenWindow)
	if err != nil {
		t.Fatal(err)
	}
	m := &made{head, [][]byte{window}}
	got, err := m.apply(t.Context(), old)
	if err != nil || len(got) != 2 || !bytes.Equal(got["a.txt"], fresh["a.txt"]) || !bytes.Equal(got["b-2.txt"], fresh["b-2.txt"]) {
		now := makeOf(t, old, fresh, Options{})
		t.Errorf("%q, %v\nnow %x\n%x", got, err, now.head, now.windows[0])
	}
}

const (
	goldenHead   = "010202012a09000005030007020205011100612e747874622d312e747874322e74787404001e21040c1800b1d2ef4d60f056498a8a4773afae16e5940aab28cb7a743a0031eaed9bfabc79c74bf878b5469b5b7e"
	goldenWindow = "010025bbc10c37b706d9b8ad8c5b6d18b663e629235891d145d0ae2a010000b5000068346e657720616e6420676f6e65021005a513240301"
)

// sealed returns a head of these bytes with its digest.
func sealed(b []byte) []byte {
	sum := digest.Sum(b)
	return append(bytes.Clone(b), sum[:16]...)
}

func TestParseHeadRefuses(t *testing.T) {
	columns := func(c ...string) (b []byte) {
		for _, s := range c {
			b = append(b, byte(len(s)))
			if len(s) > 0 {
				b = append(append(b, 0), s...)
			}
		}
		return b
	}
	head := func(counts string, c ...string) []byte {
		return sealed(append([]byte("\x01"+counts), columns(c...)...))
	}
	right := head("\x01\x00\x01\x05", "\x00\x01\x01", "a", "\x05", "12345678", "")
	if _, err := ParseHead(right); err != nil {
		t.Fatal("what is right is refused:", err)
	}
	if _, err := ParseHead(append([]byte{2}, right[1:]...)); !errors.Is(err, ErrVersion) {
		t.Error("another version:", err)
	}
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"no digest":        right[:len(right)-1],
		"too many targets": head("\xff\xff\xff\xff\x7f\x00\x00", "", "", "", "", ""),
		"window too long":  head("\x01\x00\x01\x81\x80\x80\x10", "\x00\x01\x01", "a", "\x05", "12345678", ""),
		"empty window":     head("\x01\x00\x01\x00", "\x00\x01\x01", "a", "\x00", "12345678", ""),
		"other length":     head("\x01\x00\x01\x06", "\x00\x01\x01", "a", "\x05", "12345678", ""),
		"climbing name":    head("\x01\x00\x01\x05", "\x00\x04\x01", "../a", "\x05", "12345678", ""),
		"no name":          head("\x01\x00\x01\x05", "\x00\x00\x01", "", "\x05", "12345678", ""),
		"unknown flag":     head("\x01\x00\x01\x05", "\x00\x01\x81", "a", "\x05", "12345678", ""),
		"no flag":          head("\x01\x00\x01\x05", "\x00\x01\x00", "a", "\x05", "12345678", ""),
		"same name twice":  head("\x02\x00\x01\x05", "\x00\x01\x01\x01\x00\x01", "a", "\x05\x00", "1234567812345678", ""),
		"short checks":     head("\x01\x00\x01\x05", "\x00\x01\x01", "a", "\x05", "1234567", ""),
		"rest of a column": head("\x01\x00\x01\x05", "\x00\x01\x01", "ab", "\x05", "12345678", ""),
		"no such base":     head("\x01\x00\x01\x05", "\x00\x01\x1d", "a", "\x05\x05\x01\x00", "12345678", "r"),
		"base not opened":  head("\x01\x01\x01\x05", "\x00\x01\x0f", "a", "\x05\x05\x01\x05", "123456781234", "r"),
	} {
		if _, err := ParseHead(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	m := makeOf(f, memory{"a": []byte("hello, world"), "b/c": nil}, memory{"a": []byte("hello, World"), "e": []byte("x")}, Options{})
	f.Add(m.head[:len(m.head)-16])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHead(sealed(b))
		if err != nil {
			return
		}
		for i := range h.Targets {
			h.Span(i)
		}
		if again, err := ParseHead(h.encode()); err != nil || len(again.Targets) != len(h.Targets) || len(again.Origins) != len(h.Origins) {
			t.Errorf("does not come back: %v", err)
		}
	})
}

func FuzzWindow(f *testing.F) {
	old := memory{"a": []byte("hello, world, and all that is in it"), "b": []byte("more of it")}
	fresh := memory{"a": []byte("hello, World, and all that was in it"), "c": []byte("more of that")}
	m := makeOf(f, old, fresh, Options{})
	f.Add(m.windows[0])
	h, err := ParseHead(m.head)
	if err != nil {
		f.Fatal(err)
	}
	want := append(bytes.Clone(fresh["a"]), fresh["c"]...)
	f.Fuzz(func(t *testing.T, b []byte) {
		a := NewApplier(h, old.open)
		defer a.Close()
		got, err := a.Window(t.Context(), 0, b)
		if err == nil && len(got) != len(want) {
			t.Errorf("%q", got)
		}
	})
}

// TestContainers patches archives within trees, one that is renamed, one
// without an older version, and one that is gone.
func TestContainers(t *testing.T) {
	entries := func(edit string) map[string]string {
		e := map[string]string{}
		for i := range 40 {
			name := string(rune('a'+i%26)) + string(rune('0'+i/26))
			e["pkg/"+name+".class"] = name + ": " + string(bytes.Repeat([]byte("content of the class "+name+"; "), 30))
		}
		e["pkg/a0.class"] += edit
		return e
	}
	old := memory{"lib/app-1.0.jar": zipOf(t, entries("")), "gone.zip": zipOf(t, entries("an older one"))}
	fresh := memory{"lib/app-1.1.jar": zipOf(t, entries("edited")), "other.zip": zipOf(t, map[string]string{"x": entries("")["pkg/b0.class"]})}
	m := roundTrip(t, "containers", old, fresh, Options{})
	if n := m.size(); n > 700 {
		t.Errorf("%d bytes", n)
	}
	if _, err := container.Spare(nil, nil); err == nil {
		t.Error("no recipe is a recipe")
	}
	// The base of a recipe is another one.
	for path, b := range old {
		now := memory{}
		for p, c := range old {
			now[p] = c
		}
		c := bytes.Clone(b)
		c[len(c)/3]++
		now[path] = c
		got, err := m.apply(t.Context(), now)
		var wrong *MismatchError
		if err != nil && (!errors.As(err, &wrong) || !wrong.Base || wrong.Path != path) {
			t.Errorf("%s: %v", path, err)
		}
		for p, b := range got {
			if !bytes.Equal(b, fresh[p]) {
				t.Errorf("%s is wrong", p)
			}
		}
	}
}
