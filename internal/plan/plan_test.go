package plan

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{9})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// spansOf describes data as the notes and the digest of a file.
func spansOf(path string, data []byte) ([]SpanNote, digest.Digest) {
	var (
		notes []SpanNote
		tree  digest.Tree
		only  digest.Digest
	)
	for off := 0; off < len(data); off += digest.SpanSize {
		o := digest.NewSpan(data[off:min(off+digest.SpanSize, len(data))], int64(off), len(data) <= digest.SpanSize)
		notes = append(notes, SpanNote{Path: path, Size: int64(len(data)), Tag: 7, Weight: 100, Objects: []digest.Object{o}})
		tree.PushSpan(o.ID, o.NumBlocks())
		only = o.ID
	}
	if len(data) > digest.SpanSize {
		only = tree.Root()
	}
	return notes, only
}

func segment(recs ...manifest.Record) []byte {
	var e manifest.Encoder
	for i := range recs {
		e.Append(&recs[i])
	}
	return manifest.NewCompressor().Pack(nil, e.Take())
}

func file(path string, size int64, d digest.Digest, c Content) manifest.Record {
	return manifest.Record{Entry: manifest.Entry{Path: path, Type: manifest.File, Size: size, Digest: d}, Ext: c.marshal()}
}

func spanRecord(n SpanNote) manifest.Record {
	return manifest.Record{Op: manifest.Note, Entry: manifest.Entry{Path: n.Path}, Ext: n.marshal()}
}

func packRecord(n PackNote) manifest.Record {
	return manifest.Record{Op: manifest.Note, Ext: n.marshal()}
}

func TestReaderYieldsWhatWasSent(t *testing.T) {
	big := noise(2*digest.SpanSize + 100)
	notes, sum := spansOf("big", big)
	small := noise(5000)
	pack := encodePack(newPackEncoder(zstd.SpeedDefault), small)
	recs := []manifest.Record{
		{Entry: manifest.Entry{Type: manifest.Dir, Mode: 0o755}},
		spanRecord(notes[0]), spanRecord(notes[1]), spanRecord(notes[2]),
		file("big", int64(len(big)), sum, Content{Way: Spans}),
		{Op: manifest.Del, Entry: manifest.Entry{Path: "gone"}},
		file("inline", 2, digest.Sum([]byte("hi")), Content{Way: Inline, Data: []byte("hi")}),
		file("moved", 9, digest.Sum([]byte("x")), Content{Way: Copy, From: "old/name"}),
		file("small", 5000, digest.Sum(small), Content{Way: Packed, Pack: 0, Offset: 0}),
		packRecord(PackNote{Seq: 0, Raw: 5000, Object: digest.NewObject(pack), Data: pack}),
		packRecord(PackNote{Seq: 1, Raw: 1 << 20, Object: digest.NewObject(big[:1<<20])}),
	}
	r := NewReader()
	defer r.Close()
	var spans, packs, puts int
	err := r.Segment(segment(recs...), func(it *Item) error {
		switch {
		case it.Spans != nil:
			if !reflect.DeepEqual(*it.Spans, notes[spans]) {
				t.Errorf("span note %d differs", spans)
			}
			spans++
		case it.Pack != nil:
			packs++
		case it.Record.Op == manifest.Put:
			puts++
			if it.Record.Path == "moved" && it.Content.From != "old/name" {
				t.Errorf("%+v", it.Content)
			}
		}
		return nil
	})
	if err != nil || spans != 3 || packs != 2 || puts != 5 {
		t.Fatal(spans, packs, puts, err)
	}
}

func TestReaderRefusesLies(t *testing.T) {
	big := noise(digest.SpanSize + 10)
	notes, sum := spansOf("f", big)
	bad := noise(10)
	hurt := notes[0]
	hurt.Objects = []digest.Object{notes[0].Objects[0]}
	hurt.Objects[0].Blocks = append([]digest.Digest(nil), hurt.Objects[0].Blocks...)
	hurt.Objects[0].Blocks[3][0] ^= 1
	pack := noise(100)
	lied := PackNote{Seq: 0, Raw: 10, Object: digest.NewObject(pack), Data: noise(99)}
	lied.Data = append(lied.Data, 0)
	other := notes[1]
	other.Path = "g"
	for name, recs := range map[string][]manifest.Record{
		"disorder":          {file("b", 2, digest.Sum([]byte("hi")), Content{Way: Inline, Data: []byte("hi")}), {Op: manifest.Del, Entry: manifest.Entry{Path: "a"}}},
		"inline":            {file("a", 10, digest.Sum(bad), Content{Way: Inline, Data: bad[1:]})},
		"no spans":          {file("f", int64(len(big)), sum, Content{Way: Spans})},
		"a span is missing": {spanRecord(notes[0]), file("f", int64(len(big)), sum, Content{Way: Spans})},
		"spans out of turn": {spanRecord(notes[1])},
		"spans of another":  {spanRecord(notes[0]), spanRecord(other)},
		"other digest":      {spanRecord(notes[0]), spanRecord(notes[1]), file("f", int64(len(big)), digest.Sum(bad), Content{Way: Spans})},
		"other size":        {spanRecord(notes[0]), spanRecord(notes[1]), file("f", int64(len(big))-1, sum, Content{Way: Spans})},
		"chaining value":    {spanRecord(hurt)},
		"pack number":       {packRecord(PackNote{Seq: 4, Raw: 10, Object: digest.NewObject(pack), Data: pack})},
		"inline pack":       {packRecord(lied)},
		"pack far away":     {file("f", 10, sum, Content{Way: Packed, Pack: 99})},
		"beyond the pack":   {file("f", 10, sum, Content{Way: Packed, Pack: 0, Offset: maxPackRaw})},
		"climbing copy":     {file("f", 10, sum, Content{Way: Copy, From: "../x"})},
		"a directory's":     {{Entry: manifest.Entry{Path: "d", Type: manifest.Dir}, Ext: []byte("i")}},
		"unknown note":      {{Op: manifest.Note, Ext: []byte("?")}},
		"empty note":        {{Op: manifest.Note}},
		"unknown way":       {{Entry: manifest.Entry{Path: "f", Type: manifest.File}, Ext: []byte("?")}},
	} {
		r := NewReader()
		if err := r.Segment(segment(recs...), func(*Item) error { return nil }); err == nil {
			t.Errorf("%s: accepted", name)
		}
		r.Close()
	}
}

func TestPacksRoundTrip(t *testing.T) {
	enc := newPackEncoder(zstd.SpeedDefault)
	for _, raw := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("text "), 200000), noise(frameRaw), noise(3*frameRaw + 1)} {
		u := NewUnpacker(bytes.NewReader(encodePack(enc, raw)))
		got, err := io.ReadAll(u)
		u.Close()
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%d bytes: %d, %v", len(raw), len(got), err)
		}
	}
	whole := encodePack(enc, bytes.Repeat([]byte("text "), 200000))
	u := NewUnpacker(bytes.NewReader(whole[:len(whole)-1]))
	if _, err := io.ReadAll(u); err == nil {
		t.Error("a cut pack reads to its end")
	}
	bomb := bytes.Repeat(encodePack(enc, make([]byte, frameRaw)), 100)
	u = NewUnpacker(bytes.NewReader(bomb))
	if n, err := io.Copy(io.Discard, u); err == nil || n > maxPackRaw {
		t.Errorf("a bomb yields %d bytes, %v", n, err)
	}
}

// TestPacksAreStable changes one file of many: most packs must stay the same.
func TestPacksAreStable(t *testing.T) {
	cut := func(skip string) (ends []string) {
		p := packer{}
		for i := range 3000 {
			path := string(rune('a'+i%26)) + "/" + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
			if path == skip {
				continue
			}
			p.add(make([]byte, 10000))
			if p.full(path) {
				ends = append(ends, path)
				p = packer{}
			}
		}
		return ends
	}
	all, less := cut(""), cut("c/cc")
	same := 0
	for _, a := range all {
		for _, b := range less {
			if a == b {
				same++
			}
		}
	}
	if len(all) < 5 || same < len(all)-3 {
		t.Errorf("%d of %d packs end where they did", same, len(all))
	}
}

func FuzzReader(f *testing.F) {
	notes, sum := spansOf("f", noise(70000))
	for _, recs := range [][]manifest.Record{
		{spanRecord(notes[0]), file("f", 70000, sum, Content{Way: Spans})},
		{packRecord(PackNote{Seq: 0, Raw: 10, Object: digest.NewObject(noise(100)), Data: noise(100)})},
		{file("a", 2, digest.Sum([]byte("hi")), Content{Way: Inline, Data: []byte("hi")})},
	} {
		var e manifest.Encoder
		for i := range recs {
			e.Append(&recs[i])
		}
		f.Add(e.Take())
	}
	comp := manifest.NewCompressor()
	f.Fuzz(func(_ *testing.T, body []byte) {
		r := NewReader()
		defer r.Close()
		_ = r.Segment(comp.Pack(nil, body), func(it *Item) error {
			if it.Spans != nil {
				for i := range it.Spans.Objects {
					if err := it.Spans.Objects[i].Check(); err != nil {
						panic(err)
					}
				}
			}
			return nil
		})
	})
}

func FuzzUnpacker(f *testing.F) {
	f.Add(encodePack(newPackEncoder(zstd.SpeedDefault), []byte("hello hello hello hello")))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := NewUnpacker(bytes.NewReader(b))
		defer u.Close()
		if n, err := io.Copy(io.Discard, u); n > maxPackRaw || n > 0 && errors.Is(err, io.EOF) {
			t.Fatal(n, err)
		}
	})
}
