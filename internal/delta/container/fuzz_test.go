package container

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

func FuzzZip(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 1))
	base := zipOf(f, entries(r, 4), "comment")
	nested := zipOf(f, []entryOf{{name: "a.jar", data: base, stored: true}, {name: "b", data: []byte("b")}}, "")
	f.Add(base)
	f.Add(nested)
	f.Add(append([]byte("#!/bin/sh\n"), base...))
	f.Fuzz(func(t *testing.T, b []byte) {
		diffed(t, b, nested)
		diffed(t, nested, b)
	})
}

func FuzzTar(f *testing.F) {
	r := rand.New(rand.NewPCG(6, 1))
	base := tarOf(f, entries(r, 3), tar.FormatGNU)
	f.Add(base)
	f.Add(tarOf(f, entries(r, 3), tar.FormatPAX))
	f.Fuzz(func(t *testing.T, b []byte) {
		diffed(t, b, base)
		diffed(t, base, b)
	})
}

func FuzzELF(f *testing.F) {
	base := elfOf(bytes.Repeat([]byte("text"), 3000), bytes.Repeat([]byte("debug info "), 900))
	f.Add(base)
	f.Add(elfOf(nil, nil))
	f.Add([]byte("\x1f\x8b\x08\x18\x00\x00\x00\x00\x00\x03name\x00comment\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		diffed(t, b, base)
		diffed(t, base, b)
	})
}

// FuzzSkeletonDecode gives Rebuild what no encoder made.
func FuzzSkeletonDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 1))
	all := entries(r, 12)
	old := zipOf(f, all, "")
	for _, next := range [][]byte{old, zipOf(f, touched(r, all, 3), ""), zipOf(f, shuffled(r, all), "c"), tarOf(f, all[:5], tar.FormatUSTAR)} {
		f.Add(diffed(f, next, old).Recipe)
	}
	l := parse(f, old)
	content := bytes.Repeat([]byte("content "), 5000)
	f.Fuzz(func(t *testing.T, recipe []byte) {
		spare, err := Spare(recipe, l)
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		for _, u := range spare {
			if u.Offset < 0 || u.Length < 0 || u.Offset+u.Length > l.Size() {
				t.Fatalf("%+v", u)
			}
		}
		w := &limited{left: 1 << 20}
		err = Rebuild(recipe, l, bytes.NewReader(content), w)
		if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errFull) {
			t.Fatal(err)
		}
	})
}

var errFull = errors.New("full")

// limited is a writer of so many bytes.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}
