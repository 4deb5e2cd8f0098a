package container

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestZip64 has more entries than 16 bits can count.
func TestZip64(t *testing.T) {
	all := make([]entryOf, 1<<16+3)
	for i := range all {
		all[i] = entryOf{name: fmt.Sprint("f", i), data: []byte{byte(i)}, stored: true}
	}
	b := zipOf(t, all, "many")
	if l := parse(t, b); len(l.items) < 2*len(all) {
		t.Fatalf("%d items", len(l.items))
	}
	d := diffed(t, b, zipOf(t, all[:len(all)-5], ""))
	if recipe, size := d.cost(); recipe > 600 || size > 5 {
		t.Errorf("recipe of %d bytes, %d fresh", recipe, size)
	}
}

// withBlock puts bytes between the entries and the directory, as the signing
// block of an APK is.
func withBlock(b, block []byte) []byte {
	at := len(b) - endLen
	dir := binary.LittleEndian.Uint32(b[at+16:])
	out := append(append(bytes.Clone(b[:dir]), block...), b[dir:]...)
	binary.LittleEndian.PutUint32(out[len(out)-endLen+16:], dir+uint32(len(block)))
	return out
}

func TestSigningBlock(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	all := entries(r, 60)
	old := withBlock(zipOf(t, all, ""), bytes.Repeat([]byte("APK Sig Block 42"), 256))
	next := withBlock(zipOf(t, touched(r, all, 2), ""), bytes.Repeat([]byte("APK Sig Block 43"), 250))
	d := diffed(t, next, old)
	recipe, size := d.cost()
	t.Logf("recipe %d, fresh %d in %d units", recipe, size, len(d.Fresh))
	if recipe > 200 || len(d.Fresh) != 3 || d.Fresh[2].Size != 4000 || d.Fresh[2].Ref < 0 {
		t.Errorf("recipe of %d bytes, fresh %+v", recipe, d.Fresh)
	}
}

// TestVersions renames what an archive and the archives in it are called.
func TestVersions(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	lib, own := entries(r, 50), entries(r, 10)
	app := func(version string, lib []entryOf) []byte {
		jar := zipOf(t, lib, "")
		all := append([]entryOf(nil), own...)
		for i := range all {
			all[i].name = "app-" + version + "/" + all[i].name
		}
		return tarOf(t, append(all, entryOf{name: "app-" + version + "/lib/tomcat-" + version + ".jar", data: jar}), tar.FormatGNU)
	}
	d := diffed(t, app("10.1.60", touched(r, lib, 4)), app("10.1.55", lib))
	recipe, size := d.cost()
	t.Logf("recipe %d, fresh %d in %d units", recipe, size, len(d.Fresh))
	for _, u := range d.Fresh {
		if u.Ref < 0 {
			t.Errorf("%+v has nothing that it resembles", u)
		}
	}
	if recipe > 300 || len(d.Fresh) > 4 {
		t.Errorf("recipe of %d bytes, %d fresh units", recipe, len(d.Fresh))
	}
}

// TestLimits wants containers beyond the limits to be plain.
func TestLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 1))
	z := zipOf(t, entries(r, 50), "")
	for _, p := range []parser{{left: 149, directory: 1 << 20}, {left: 1 << 20, directory: 3000}} {
		p.file = bytes.NewReader(z)
		if err := p.region(0, int64(len(z)), label{}, 0, true); err != nil || len(p.items) != 1 || p.items[0].kind != plain {
			t.Errorf("%d items, %v", len(p.items), err)
		}
	}
	deep := z
	for range 2 * MaxDepth {
		deep = zipOf(t, []entryOf{{name: "in.zip", data: deep, stored: true}}, "")
	}
	diffed(t, deep, z)
	diffed(t, z, deep)
	diffed(t, deep, deep)
}

// TestOverlap is an archive whose entries share their bytes.
func TestOverlap(t *testing.T) {
	b := zipOf(t, []entryOf{{name: "a", data: []byte("aaaa")}, {name: "b", data: []byte("bbbb")}}, "")
	at := bytes.LastIndex(b, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(b[at+42:], 0)
	if l := parse(t, b); !l.Plain() {
		t.Errorf("%+v", l.items)
	}
	diffed(t, b, b)
}

func TestErrorsOfReading(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 1))
	z := zipOf(t, entries(r, 20), "")
	broken := errors.New("broken disk")
	for after := range 30 {
		f := &failing{bytes.NewReader(z), after, broken}
		l, err := Parse(f, int64(len(z)))
		if err == nil {
			_, err = Diff(l, l)
		}
		if !errors.Is(err, broken) {
			t.Errorf("after %d reads: %v", after, err)
		}
	}
	if _, err := Parse(bytes.NewReader(z[:100]), int64(len(z))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is shorter: %v", err)
	}
}

type failing struct {
	io.ReaderAt
	after int
	err   error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestWrongBase(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 1))
	all := entries(r, 20)
	old := zipOf(t, all, "")
	d := diffed(t, zipOf(t, touched(r, all, 2), ""), old)
	for name, base := range map[string][]byte{"another size": old[1:], "no archive": bytes.Repeat([]byte{1}, len(old)), "empty": nil} {
		if err := Rebuild(d.Recipe, parse(t, base), bytes.NewReader(nil), io.Discard); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Rebuild(d.Recipe, parse(t, old), bytes.NewReader(nil), io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("no content: %v", err)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden keeps the recipe's format: old recipes rebuild what they did.
func TestGolden(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if *update {
		writeGolden(t)
	}
	old, next, recipe, fresh := read("old.zip"), read("new.zip"), read("recipe"), read("fresh")
	var b bytes.Buffer
	if err := Rebuild(recipe, parse(t, old), bytes.NewReader(fresh), &b); err != nil || !bytes.Equal(b.Bytes(), next) {
		t.Errorf("the golden recipe: %v, %d bytes", err, b.Len())
	}
	if d := diffed(t, next, old); !bytes.Equal(d.Recipe, recipe) {
		t.Logf("the encoder has changed: %d bytes, were %d", len(d.Recipe), len(recipe))
	}
}

func writeGolden(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 1))
	var all []entryOf
	for i, e := range entries(r, 12) {
		e.data = e.data[:len(e.data)/8]
		e.stored = i%5 == 0
		all = append(all, e)
	}
	inner := zipOf(t, all[:4], "")
	old := zipOf(t, append(all, entryOf{name: "lib-1.0.jar", data: inner, stored: true}), "")
	inner = zipOf(t, touched(r, all[:4], 1), "")
	next := zipOf(t, shuffled(r, append(touched(r, all[2:], 2), entryOf{name: "lib-1.1.jar", data: inner, stored: true}, entryOf{name: "added", data: []byte("added")})), "golden")
	d := diffed(t, next, old)
	var fresh bytes.Buffer
	for _, u := range d.Fresh {
		if _, err := io.Copy(&fresh, u.Open(bytes.NewReader(next))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("testdata", 0o777); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"old.zip": old, "new.zip": next, "recipe": d.Recipe, "fresh": fresh.Bytes()} {
		if err := os.WriteFile(filepath.Join("testdata", name), b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}
