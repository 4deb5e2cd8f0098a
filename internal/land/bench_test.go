package land

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// The two benchmarks make the same tree: benchDirs directories of benchFiles
// small files.
const (
	benchDirs  = 200
	benchFiles = 500
)

var benchData = []byte("a hundred bytes or so of content, as the small files of many trees have them: sources, modules, icons")

// BenchmarkPlain creates, writes, closes and renames, which is the least that
// a tool can do, and what is not durable; then it syncs.
func BenchmarkPlain(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		top := b.TempDir()
		dir, err := fsys.OpenDir(top)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for d := range benchDirs {
			sub := filepath.Join(top, fmt.Sprintf("d%03d", d))
			if err := os.Mkdir(sub, 0o755); err != nil {
				b.Fatal(err)
			}
			for f := range benchFiles {
				tmp := filepath.Join(sub, ".tmp")
				if err := os.WriteFile(tmp, benchData, 0o644); err != nil {
					b.Fatal(err)
				}
				if err := os.Rename(tmp, filepath.Join(sub, fmt.Sprintf("f%03d", f))); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := dir.SyncFS(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = dir.Close()
		_ = os.RemoveAll(top)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*benchDirs*benchFiles), "µs/file")
}

func BenchmarkLand(b *testing.B) {
	ctx := context.Background()
	sum := digest.Sum(benchData)
	for b.Loop() {
		b.StopTimer()
		top := b.TempDir()
		b.StartTimer()
		a, err := Open(ctx, Options{Dest: top, Mask: all})
		if err != nil {
			b.Fatal(err)
		}
		recs := []manifest.Record{{Entry: manifest.Entry{Type: manifest.Dir, Mode: 0o755, Sec: 1}}}
		add := func(kind OpKind, e manifest.Entry) {
			recs = append(recs, manifest.Record{Entry: e})
			if err := a.Add(&Op{Kind: kind, Entry: e}); err != nil {
				b.Fatal(err)
			}
		}
		for d := range benchDirs {
			sub := fmt.Sprintf("d%03d", d)
			add(OpMkdir, manifest.Entry{Path: sub, Type: manifest.Dir, Mode: 0o755, Sec: 1})
			for f := range benchFiles {
				e := manifest.Entry{Path: fmt.Sprintf("%s/f%03d", sub, f), Type: manifest.File, Mode: 0o644, Sec: 1, Size: int64(len(benchData)), Digest: sum}
				if err := a.StageBytes(&e, benchData); err != nil {
					b.Fatal(err)
				}
				add(OpFile, e)
			}
		}
		res, err := a.Land(ctx, manifest.Slice(recs), sum, 0)
		if err != nil || res.Failed > 0 {
			b.Fatal(res, err)
		}
		a.Close()
		b.StopTimer()
		_ = os.RemoveAll(top)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*benchDirs*benchFiles), "µs/file")
}
