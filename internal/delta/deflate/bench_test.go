package deflate

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// corpus returns about 8 MB of what releases are made of: Java classes or, where
// there are none, Go source and a Go program.
func corpus(b testing.TB) map[string][]byte {
	all := map[string][]byte{}
	names, _ := filepath.Glob("/usr/share/java/g*.jar")
	for _, name := range names {
		z, err := zip.OpenReader(name)
		if err != nil {
			continue
		}
		for _, f := range z.File {
			if r, err := f.Open(); err == nil && len(all["classes"]) < 8<<20 {
				data, _ := io.ReadAll(r)
				all["classes"] = append(all["classes"], data...)
			}
		}
		_ = z.Close()
	}
	names, _ = filepath.Glob(filepath.Join(goroot(b), "src/*/*.go"))
	for _, name := range names {
		if data, err := os.ReadFile(name); err == nil && len(all["source"]) < 8<<20 {
			all["source"] = append(all["source"], data...)
		}
	}
	if data, err := os.ReadFile(filepath.Join(goroot(b), "bin/go")); err == nil {
		all["program"] = data[:min(len(data), 8<<20)]
	}
	return all
}

func BenchmarkWriter(b *testing.B) {
	for name, data := range corpus(b) {
		for _, level := range []uint8{1, 6, 9} {
			b.Run(fmt.Sprint(name, "/", level), func(b *testing.B) {
				p := Params{Level: level, MemLevel: 8}
				w, _ := NewWriter(io.Discard, p)
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					w.Reset(io.Discard, p)
					_, _ = w.Write(data)
					_ = w.Close()
				}
			})
		}
	}
}

// BenchmarkZlib is the C library on the same bytes; the pipe to it costs it
// little.
func BenchmarkZlib(b *testing.B) {
	for name, data := range corpus(b) {
		for _, level := range []uint8{1, 6, 9} {
			b.Run(fmt.Sprint(name, "/", level), func(b *testing.B) {
				ref := zlib(b)
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					ref.deflate(b, Params{Level: level, MemLevel: 8}, data)
				}
			})
		}
	}
}
