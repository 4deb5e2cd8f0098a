package plan

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// checkGolden compares got with a vector, which docs/protocol.md must show.
func checkGolden(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != want {
		t.Errorf("%s: %x, want %s", what, got, want)
	}
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "`"+want+"`") {
		t.Errorf("%s: docs/protocol.md does not show %s", what, want)
	}
}

// TestGoldenContent pins how a record says where content comes from.
func TestGoldenContent(t *testing.T) {
	for want, c := range map[string]Content{
		"6968690a":   {Way: Inline, Data: []byte("hi\n")},
		"63612f62":   {Way: Copy, From: "a/b"},
		"7002c09a0c": {Way: Packed, Pack: 2, Offset: 200000},
		"73":         {Way: Spans},
		"64":         {Way: Patch},
	} {
		checkGolden(t, string(c.Way), c.marshal(), want)
		b, _ := hex.DecodeString(want)
		var got Content
		if err := got.unmarshal(b); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v, want %+v, %v", got, c, err)
		}
	}
}

// TestGoldenNotes pins the notes, whose objects are of zero bytes.
func TestGoldenNotes(t *testing.T) {
	zeros := make([]byte, 70000)
	small := digest.NewObject(zeros[:100])
	spans := []struct {
		note SpanNote
		want string
	}{
		{
			SpanNote{Size: 100, Tag: 0x0123456789abcdef, Weight: 100, Objects: []digest.Object{small}},
			"53640123456789abcdef640001ac6f86fff630a56a21f59d3a0c1c6907fe3f7cafd5fa916f9b722032f6059ed9",
		},
		{
			SpanNote{Size: digest.SpanSize + 70000, Tag: 1, Weight: 7, Objects: []digest.Object{digest.NewSpan(zeros, digest.SpanSize, false)}},
			"53f0a284020000000000000001070101c7b3b64e0404d1610ec65e79710ec41b8e8d7b80e67788e2b00b690eb91549bbb67797c35cd8f46d3a91f540ae8bbf928d164cb234faa488004d895afbb07fdfa3306eda6379279b13a5d4100d65c4cdecff0664023606d5a06a98ce0620d54c",
		},
	}
	for _, x := range spans {
		checkGolden(t, "spans", x.note.marshal(), x.want)
		b, _ := hex.DecodeString(x.want)
		var got SpanNote
		if err := got.unmarshal(b[1:]); err != nil || !reflect.DeepEqual(got, x.note) {
			t.Errorf("%+v, want %+v, %v", got, x.note, err)
		}
	}
	inline, stored := []byte("\x00\x00\x00\x03\x00\x00\x00\x03abc"), digest.NewObject(zeros)
	packs := []struct {
		note PackNote
		want string
	}{
		{
			PackNote{Seq: 1, Raw: 3, Object: digest.NewObject(inline), Data: inline},
			"500103" + digest.Sum(inline).String() + "0b01" + hex.EncodeToString(inline),
		},
		{
			PackNote{Seq: 2, Raw: 300000, Object: stored},
			"5002e0a7122617dd4fdf1259b2fcfc5af172a524b6d523cc832b7a2622fd45b51f7f859b8ef0a20400175bf7f5688a42e5d248b482272dbfc9715b4220df0fe5f5030abe24a131b4f6879b434cfbb3d87b64f9f8202ecc563181f34a7413b4232e068cbac98aaed286",
		},
	}
	for _, x := range packs {
		checkGolden(t, "pack", x.note.marshal(), x.want)
		b, _ := hex.DecodeString(x.want)
		var got PackNote
		if err := got.unmarshal(b[1:]); err != nil || !reflect.DeepEqual(got, x.note) {
			t.Errorf("%+v, want %+v, %v", got, x.note, err)
		}
	}
}

// TestGoldenTag pins the tag of a file's state. Only its server reads it, but
// a server that was replaced by a newer one reads its predecessor's.
func TestGoldenTag(t *testing.T) {
	tag := Tag(manifest.Stat{Size: 6, Sec: 1700000001, Nsec: 2, CSec: -1, CNsec: 4, Ino: 77, Dev: 9})
	if tag != 0xa73c248a325cc394 {
		t.Errorf("%x", tag)
	}
}

// TestGoldenPack reads a pack of a compressed and a stored frame. What a
// compressor writes is not part of the format.
func TestGoldenPack(t *testing.T) {
	const pack = "000000170000003128b52ffd20317500003868656c6c6f2001015406032313" + "0000000300000003616263"
	b, err := hex.DecodeString(pack)
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "pack", b, pack)
	u := NewUnpacker(bytes.NewReader(b))
	defer u.Close()
	got, err := io.ReadAll(u)
	if want := strings.Repeat("hello ", 8) + "\x01abc"; err != nil || string(got) != want {
		t.Errorf("%q, want %q, %v", got, want, err)
	}
}

// TestGoldenPatch pins the note of a patch that stands in the plan and of one
// that does not.
func TestGoldenPatch(t *testing.T) {
	zeros := make([]byte, 70000)
	for want, n := range map[string]PatchNote{
		"44e80700616263": {Raw: 1000, Data: []byte("abc")},
		"44e0a712022617dd4fdf1259b2fcfc5af172a524b6d523cc832b7a2622fd45b51f7f859b8ef0a204175bf7f5688a42e5d248b482272dbfc9715b4220df0fe5f5030abe24a131b4f6879b434cfbb3d87b64f9f8202ecc563181f34a7413b4232e068cbac98aaed286ac6f86fff630a56a21f59d3a0c1c6907fe3f7cafd5fa916f9b722032f6059ed964": {Raw: 300000, Objects: []digest.Object{digest.NewObject(zeros), digest.NewObject(zeros[:100])}},
	} {
		checkGolden(t, "patch", append([]byte{notePatch}, n.Marshal()...), want)
		b, _ := hex.DecodeString(want)
		got, err := ParsePatchNote(b[1:])
		if err == nil && len(got.Data) == 0 {
			got.Data = nil
		}
		if err != nil || !reflect.DeepEqual(*got, n) {
			t.Errorf("%+v, want %+v, %v", got, n, err)
		}
	}
}
