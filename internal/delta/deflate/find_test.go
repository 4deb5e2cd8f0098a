package deflate

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func find(t testing.TB, f *Finder, stream []byte) (Found, bool) {
	t.Helper()
	found, ok, err := f.Find(bytes.NewReader(stream), int64(len(stream)))
	if err != nil {
		t.Fatal(err)
	}
	return found, ok
}

func TestFindsHowItWasMade(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var f Finder
	for _, n := range []int{0, 1, 300, 5000, 70000, 300_000, keep + 300_000} {
		data := mixture(r, n)
		for _, p := range candidates() {
			if n > keep && (p.Level > 6 || p.MemLevel == 9) {
				continue
			}
			stream := deflated(t, p, data)
			found, ok := find(t, &f, stream)
			if !ok || found.Size != int64(n) || found.CRC != crc32.ChecksumIEEE(data) {
				t.Fatalf("%v of %d bytes: %+v, %v", p, n, found, ok)
			}
			if !bytes.Equal(deflated(t, found.Params, data), stream) {
				t.Fatalf("%v of %d bytes: found %v, which does not give the same bytes", p, n, found.Params)
			}
		}
	}
}

func TestFindsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	data := mixture(r, 100_000)
	stream := deflated(t, Params{Level: 6, MemLevel: 8}, data)
	var f Finder
	for i, bad := range [][]byte{nil, {7}, stream[:1000], append(bytes.Clone(stream), 0), data} {
		if found, ok := find(t, &f, bad); ok {
			t.Errorf("case %d: %+v", i, found)
		}
	}
	var b bytes.Buffer // an encoder that flushes is none of those known
	w, _ := flate.NewWriter(&b, 6)
	_, _ = w.Write(data[:50000])
	_ = w.Flush()
	_, _ = w.Write(data[50000:])
	_ = w.Close()
	if found, ok := find(t, &f, b.Bytes()); ok {
		t.Errorf("flushed: %+v", found)
	}
	broken := errors.New("broken disk")
	if _, ok, err := f.Find(brokenReader{bytes.NewReader(stream), broken}, int64(len(stream))); ok || !errors.Is(err, broken) {
		t.Errorf("an error of reading: %v, %v", ok, err)
	}
}

type brokenReader struct {
	io.ReaderAt
	err error
}

func (b brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > 5000 {
		return 0, b.err
	}
	return b.ReaderAt.ReadAt(p, off)
}

// TestFindsInJars wants nearly all streams of the jars of the machine, which
// java.util.zip made, by zlib of the time.
func TestFindsInJars(t *testing.T) {
	names, _ := filepath.Glob("/usr/share/java/*.jar")
	all, exact := 0, 0
	params := map[string]int{}
	for _, name := range names {
		z, err := zip.OpenReader(name)
		if err != nil {
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var f Finder
		for _, e := range z.File {
			off, err := e.DataOffset()
			if e.Method != zip.Deflate || err != nil || all > 2000 {
				continue
			}
			all++
			size := int64(e.CompressedSize64)
			found, ok, err := f.Find(io.NewSectionReader(file, off, size), size)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				continue
			}
			exact++
			params[found.Params.String()]++
			if found.Size != int64(e.UncompressedSize64) || found.CRC != e.CRC32 {
				t.Fatalf("%s %s: %+v", name, e.Name, found)
			}
		}
		_ = file.Close()
		_ = z.Close()
	}
	if all == 0 {
		t.Skip("no jars in /usr/share/java")
	}
	t.Logf("%d of %d exact: %v", exact, all, params)
	if exact*100 < all*95 {
		t.Errorf("%d of %d streams were made again", exact, all)
	}
}

func FuzzFind(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, p := range []Params{{Level: 6, MemLevel: 8}, {Level: 1, MemLevel: 8}, {Level: 9, MemLevel: 9}, {Go: true, Level: 1}} {
		f.Add(deflated(f, p, mixture(r, 3000)))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var f Finder
		found, ok := find(t, &f, stream)
		if !ok {
			return
		}
		data, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream)))
		if err != nil || int64(len(data)) != found.Size {
			t.Fatalf("%+v: inflates to %d bytes, %v", found, len(data), err)
		}
		if !bytes.Equal(deflated(t, found.Params, data), stream) {
			t.Fatalf("%+v does not give the same bytes", found)
		}
	})
}

// FuzzWriter inflates what it deflates.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("abcabcabcabc"), byte(0x06))
	f.Add(bytes.Repeat([]byte("a"), 700), byte(0x11))
	f.Fuzz(func(t *testing.T, data []byte, b byte) {
		p, err := ParseByte(b)
		if err != nil {
			return
		}
		if p.Byte() != b {
			t.Fatalf("%v: encoded as %#x, was %#x", p, p.Byte(), b)
		}
		got, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated(t, p, data))))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%v: %v", p, err)
		}
	})
}
