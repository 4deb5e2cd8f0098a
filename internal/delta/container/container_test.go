package container

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func parse(t testing.TB, b []byte) *Layout {
	t.Helper()
	l, err := Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for i, it := range l.items {
		if it.off != at || it.data < 0 {
			t.Fatalf("item %d starts at %d, not %d: %+v", i, it.off, at, it)
		}
		at = it.dataOff() + it.data
	}
	if at != int64(len(b)) {
		t.Fatalf("items end at %d of %d bytes", at, len(b))
	}
	return l
}

// diffed returns how next is made of old, after it has made it.
func diffed(t testing.TB, next, old []byte) *Delta {
	t.Helper()
	n, o := parse(t, next), parse(t, old)
	d, err := Diff(n, o)
	if err != nil {
		t.Fatal(err)
	}
	spare, err := Spare(d.Recipe, o)
	if err != nil || fmt.Sprint(spare) != fmt.Sprint(d.Spare) {
		t.Fatalf("spare units: %v, %v of the recipe, %v", err, spare, d.Spare)
	}
	for i, u := range d.Spare {
		if size, err := io.Copy(io.Discard, u.Open(bytes.NewReader(old))); err != nil || size != u.Size {
			t.Fatalf("spare unit %d, %+v: %d bytes, %v", i, u, size, err)
		}
	}
	var readers []io.Reader
	for _, u := range d.Fresh {
		readers = append(readers, u.Open(bytes.NewReader(next)))
	}
	var b bytes.Buffer
	if err := Rebuild(d.Recipe, o, io.MultiReader(readers...), &b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), next) {
		t.Fatalf("rebuilt %d bytes of %d, but not the same", b.Len(), len(next))
	}
	return d
}

func (d *Delta) cost() (recipe, fresh int64) {
	z, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	for _, u := range d.Fresh {
		fresh += u.Size
	}
	return int64(len(z.EncodeAll(d.Recipe, nil))), fresh
}

// entryOf is an entry of an archive to make.
type entryOf struct {
	name   string
	data   []byte
	stored bool
	time   time.Time
}

func entries(r *rand.Rand, n int) (all []entryOf) {
	at := time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range n {
		b := make([]byte, r.IntN(6000))
		for j := range b {
			b[j] = byte('a' + r.IntN(1+i%20))
		}
		all = append(all, entryOf{fmt.Sprintf("com/example/of%d/Class%d.class", i%7, i), b, r.IntN(8) == 0, at.Add(time.Duration(i) * time.Second)})
	}
	return all
}

func zipOf(t testing.TB, all []entryOf, comment string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range all {
		h := &zip.FileHeader{Name: e.name, Modified: e.time, Method: zip.Deflate}
		if e.stored {
			h.Method = zip.Store
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.SetComment(comment); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarOf(t testing.TB, all []entryOf, format tar.Format) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range all {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Size: int64(len(e.data)), Mode: 0o644, ModTime: e.time, Format: format, Uname: "root"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// touched returns the entries with other times, and some changed.
func touched(r *rand.Rand, all []entryOf, changes int) []entryOf {
	next := append([]entryOf(nil), all...)
	at := time.Date(2025, 7, 1, 1, 2, 4, 0, time.UTC)
	for i := range next {
		next[i].time = at
	}
	for range changes {
		e := &next[r.IntN(len(next))]
		e.data = bytes.Clone(e.data)
		if len(e.data) > 0 {
			e.data[r.IntN(len(e.data))] ^= 1
		}
	}
	return next
}

func TestZip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	all := entries(r, 250)
	old := zipOf(t, all, "")
	for name, c := range map[string]struct {
		next          []byte
		recipe, fresh int64
	}{
		"same":     {old, 60, 0},
		"times":    {zipOf(t, touched(r, all, 0), ""), 80, 0},
		"changed":  {zipOf(t, touched(r, all, 5), ""), 300, 30000},
		"comment":  {zipOf(t, all, "a comment"), 120, 0},
		"removed":  {zipOf(t, all[20:], ""), 80, 0},
		"added":    {zipOf(t, append(entries(r, 3), all...), ""), 400, 30000},
		"shuffled": {zipOf(t, shuffled(r, touched(r, all, 0)), ""), 750, 0},
		"stub":     {append([]byte("#!/bin/sh\nexec java -jar $0\n"), old...), 120, 40},
		"nested":   {zipOf(t, []entryOf{{name: "a.jar", data: old, stored: true}, {name: "b.jar", data: zipOf(t, touched(r, all, 0), "x"), stored: true}}, ""), 1 << 20, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			d := diffed(t, c.next, old)
			recipe, size := d.cost()
			t.Logf("%d bytes: recipe %d (%d packed), fresh %d in %d units", len(c.next), len(d.Recipe), recipe, size, len(d.Fresh))
			if recipe > c.recipe || size > c.fresh {
				t.Errorf("recipe of %d bytes and %d fresh ones, wanted %d and %d at most", recipe, size, c.recipe, c.fresh)
			}
			diffed(t, old, c.next)
			diffed(t, c.next, nil)
			diffed(t, c.next, c.next[:len(c.next)/2])
		})
	}
}

func shuffled(r *rand.Rand, all []entryOf) []entryOf {
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func TestNested(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	var outer []entryOf
	for i := range 20 {
		outer = append(outer, entryOf{fmt.Sprintf("BOOT-INF/lib/lib%d.jar", i), zipOf(t, entries(r, 40), ""), true, time.Unix(1700000000, 0)})
	}
	own := entries(r, 50)
	old := zipOf(t, append(own, outer...), "")
	inner := entries(r, 40)
	outer[3].data = zipOf(t, inner, "")
	before := zipOf(t, append(own, outer...), "")
	outer[3].data = zipOf(t, touched(r, inner, 2), "")
	next := zipOf(t, append(touched(r, own, 3), outer...), "")
	d := diffed(t, next, before)
	recipe, size := d.cost()
	t.Logf("%d bytes: recipe %d packed, fresh %d in %d units", len(next), recipe, size, len(d.Fresh))
	if recipe > 400 || size > 30000 {
		t.Errorf("recipe of %d bytes, %d fresh", recipe, size)
	}
	diffed(t, next, old)
}

func TestTar(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	all := entries(r, 300)
	all[7].name = "a/" + string(bytes.Repeat([]byte("long"), 40))
	all[8].name = string(bytes.Repeat([]byte("a/b"), 40))
	all[9].data = zipOf(t, entries(r, 30), "")
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		if format == tar.FormatUSTAR {
			all[7].name = "short"
		}
		old := tarOf(t, all, format)
		next := tarOf(t, touched(r, all, 3), format)
		if d := parse(t, next); len(d.items) < 600 {
			t.Errorf("%v: %d items", format, len(d.items))
		}
		d := diffed(t, next, old)
		recipe, size := d.cost()
		t.Logf("%v: %d bytes: recipe %d (%d packed), fresh %d in %d units", format, len(next), len(d.Recipe), recipe, size, len(d.Fresh))
		if recipe > 200 || size > 20000 {
			t.Errorf("%v: recipe of %d bytes and %d fresh ones", format, recipe, size)
		}
		diffed(t, old, next[:len(next)/2])
	}
}

func TestGzip(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name = "a.txt"
	_, _ = w.Write(bytes.Repeat([]byte("some text, "), 1000))
	_ = w.Close()
	d := diffed(t, b.Bytes(), nil)
	if len(d.Fresh) != 3 || !d.Fresh[1].Inflate || d.Fresh[1].Size != 11000 {
		t.Errorf("%+v", d.Fresh)
	}
}

func TestJars(t *testing.T) {
	names, _ := filepath.Glob("/usr/share/java/*.jar")
	var last []byte
	n := 0
	for _, name := range names {
		if fi, err := os.Lstat(name); err != nil || !fi.Mode().IsRegular() || fi.Size() > 300<<10 || n > 10 {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if l := parse(t, b); l.Plain() {
			t.Errorf("%s was not opened", name)
		}
		n++
		diffed(t, b, last)
		recipe, size := diffed(t, b, b).cost()
		if size > 0 || recipe > 80 {
			t.Errorf("%s against itself: recipe of %d bytes, %d fresh", name, recipe, size)
		}
		last = b
	}
	if n == 0 {
		t.Skip("no jars in /usr/share/java")
	}
}

func TestELF(t *testing.T) {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip("no ELF file to look at")
	}
	d := diffed(t, exe, exe)
	if len(d.Fresh) > 0 {
		t.Errorf("%d fresh units against itself", len(d.Fresh))
	}
	d = diffed(t, exe, nil)
	n := 0
	for _, u := range d.Fresh {
		if u.Inflate {
			n++
		}
	}
	t.Logf("%d units, %d inflated", len(d.Fresh), n)
	src := filepath.Join(t.TempDir(), "a.go")
	if err := os.WriteFile(src, []byte("package main\nfunc main() { println(1) }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := src + ".exe"
	cmd := exec.Command("go", "build", "-o", out, src)
	cmd.Env = append(os.Environ(), "GOOS=linux")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no program was built: %v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	n = 0
	for _, u := range diffed(t, b, nil).Fresh {
		if u.Inflate {
			n++
		}
	}
	if n < 4 {
		t.Errorf("%d sections were inflated", n)
	}
}

func TestMutations(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	all := entries(r, 25)
	inner := zipOf(t, entries(r, 6), "inner")
	all = append(all, entryOf{name: "lib.jar", data: inner, stored: true})
	bases := [][]byte{zipOf(t, all, "c"), tarOf(t, all, tar.FormatGNU), tarOf(t, all, tar.FormatPAX)}
	for i := range 200 {
		base := bases[i%len(bases)]
		diffed(t, mutated(r, base), base)
		if i%5 == 0 {
			diffed(t, mutated(r, base), mutated(r, bases[(i+1)%3]))
		}
	}
}

// mutated returns b with some of its bytes changed, copied, or gone; mostly
// near its end, where directories are.
func mutated(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(4) {
		if len(b) < 10 {
			return b
		}
		at := r.IntN(len(b))
		if r.IntN(2) == 0 {
			at = len(b) - 1 - r.IntN(min(len(b), 3000))
		}
		n := r.IntN(min(len(b)-at, 1<<r.IntN(10)) + 1)
		switch r.IntN(5) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2:
			b = append(b[:at], b[at+n:]...)
		case 3:
			b = append(b[:at:at], append(bytes.Clone(b[at:at+n]), b[at:]...)...)
		default:
			copy(b[at:], b[r.IntN(len(b)):][:n/2])
		}
	}
	return b
}
