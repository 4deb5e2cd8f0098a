package land

import (
	"bytes"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

func FuzzReady(f *testing.F) {
	f.Add([]byte(`{"Version":0,"Mask":3,"TempDir":"L3RtcA=="}`))
	f.Add([]byte(`{"Version":0,"Atomic":true,"New":"LngucA==","NewIno":7,"RootMode":493}`))
	f.Add([]byte(`{"Version":1}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReady(b)
		if err == nil && (r.Version != readyVersion || r.Atomic && (r.NewIno == 0 || len(r.New) == 0)) {
			t.Errorf("accepted %+v", r)
		}
	})
}

func FuzzModes(f *testing.F) {
	f.Add([]byte("{\"Path\":\"YQ==\",\"Mode\":365}\n{\"Path\":\"\",\"Mode\":320}\n{\"Pa"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseModes(bytes.NewReader(b), func(m openMode) {
			if m.Mode > 0o7777 || checkPath(string(m.Path)) != nil {
				t.Errorf("accepted %+v", m)
			}
		})
	})
}

func FuzzOp(f *testing.F) {
	add := func(op Op) {
		var rec manifest.Record
		op.encode(&rec, nil)
		f.Add(rec.Path, uint8(rec.Op), uint8(rec.Type), rec.Size, rec.Target, rec.Mode, rec.Ext)
	}
	add(Op{Kind: OpFile, Entry: manifest.Entry{Path: "a/b", Type: manifest.File, Size: 5, Digest: digest.Sum(nil)}, Change: ">f+++++++++", done: true})
	add(Op{Kind: OpDelete, Entry: manifest.Entry{Path: "a", Type: manifest.Dir}, Change: "*deleting  "})
	add(Op{Kind: OpSymlink, Entry: manifest.Entry{Path: "l", Type: manifest.Symlink, Target: "x"}})
	f.Fuzz(func(t *testing.T, path string, recOp, typ uint8, size int64, target string, mode uint32, ext []byte) {
		rec := manifest.Record{Op: manifest.Op(recOp), Ext: ext, Entry: manifest.Entry{
			Path: path, Type: manifest.Type(typ), Size: size, Target: target, Mode: mode,
		}}
		var op Op
		if op.decode(&rec) != nil {
			return
		}
		if err := checkPath(op.Entry.Path); err != nil {
			t.Error(err)
		}
		var back manifest.Record
		op.encode(&back, nil)
		var again Op
		if err := again.decode(&back); err != nil || again.Kind != op.Kind || again.Change != op.Change || again.Entry.Path != op.Entry.Path {
			t.Errorf("%+v became %+v: %v", op, again, err)
		}
	})
}
