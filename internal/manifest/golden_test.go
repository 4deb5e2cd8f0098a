package manifest

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
)

// golden are records that use every field; docs/protocol.md shows the bytes.
var golden = []Record{
	{Entry: Entry{Type: Dir, Mode: 0o755, Sec: 1700000000, UID: 1000, GID: 100, User: "ann", Group: "users"}},
	{Entry: Entry{Path: "bin", Type: Dir, Mode: 0o755, Sec: -1, Nsec: 5, UID: 1000, GID: 100, User: "ann", Group: "users"}},
	{
		Entry: Entry{
			Path: "bin/run", Type: File, Digest: digest.Sum([]byte("hello\n")), Size: 6, Mode: 0o4755, Sec: 1700000001,
			GID: 100, User: "root", Group: "users",
		},
		Stat: Stat{Size: 6, Sec: 1700000001, Nsec: 2, CSec: 1700000003, CNsec: 4, Ino: 77, Dev: 2049},
	},
	{Entry: Entry{Path: "bin/to", Type: Symlink, Target: "run", Sec: 1700000002, GID: 100, User: "root", Group: "users"}},
	{Op: Del, Entry: Entry{Path: "lib"}},
	{Op: Note, Entry: Entry{Path: "lib.so"}, Ext: []byte("S...")},
}

// goldenBytes are the encodings of golden, which together are a segment's body.
var goldenBytes = []string{
	"2010001a00200240ed034880c49fd50c58e80760646a03616e6e72057573657273",
	"1010001a0362696e200240ed0348015005",
	"5110031a042f72756e20012a208e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99300640ed134882c49fd50c58006a04726f6f747a100682c49fd50c0286c49fd50c044d8110",
	"1510041a02746f20033a0372756e40004884c49fd50c",
	"09080110001a036c6962",
	"10080210031a032e736f820104532e2e2e",
}

// goldenList holds the first four records in stored form: of kind 'i', with the
// digest of their tree under all attributes, and meta 0x1f. What a compressor
// writes is not part of the format, so that it is only read.
const goldenList = "726f70656900" +
	"a70128b52ffd0400d104002010001a00200240ed034880c49fd50c58e80760646a03616e6e720575736572731010001a0362696e200240ed03480150055110031a042f72756e20012a208e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99300640ed134882c49fd50c58006a04726f6f747a100682c49fd50c0286c49fd50c044d81101510041a02746f20033a0372756e40004884c49fd50ccdb5054f" +
	"00" + "0000000000000004" + goldenTree + "000000000000001f" + "65706f72"

const goldenTree = "56ebee2864b5db503f5c56a46f03bef0482d204ccbd8fcf23a84d5f91ae899f2"

func shown(t *testing.T, want string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "`"+want+"`") {
		t.Errorf("docs/protocol.md does not show %s", want)
	}
}

// TestGoldenRecords pins the encoding of records: a change here is a change of
// the protocol and of every stored list.
func TestGoldenRecords(t *testing.T) {
	body, err := hex.DecodeString(strings.Join(goldenBytes, ""))
	if err != nil {
		t.Fatal(err)
	}
	var e Encoder
	d := NewDecoder(body)
	for i, want := range goldenBytes {
		from := e.Len()
		e.Append(&golden[i])
		if got := hex.EncodeToString(e.buf[from:]); got != want {
			t.Errorf("record %d: %s, want %s", i, got, want)
		}
		var r Record
		if err := d.Next(&r); err != nil || !reflect.DeepEqual(r, golden[i]) {
			t.Errorf("record %d: %+v, want %+v, %v", i, r, golden[i], err)
		}
		shown(t, want)
	}
}

// TestGoldenList reads a stored list.
func TestGoldenList(t *testing.T) {
	b, err := hex.DecodeString(goldenList)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(b), 'i')
	if err != nil {
		t.Fatal(err)
	}
	if got := all(t, r); !reflect.DeepEqual(got, golden[:4]) {
		t.Errorf("%+v", got)
	}
	full := Perm | Times | Owner | Group | Links
	tr, ok := r.Trailer()
	if !ok || tr.Tree.String() != goldenTree || tr.Meta != uint64(full) || tr.Count != 4 {
		t.Errorf("%+v", tr)
	}
	if got := treeOf(t, Slice(golden[:4]), full); got.String() != goldenTree {
		t.Errorf("tree %s", got)
	}
	shown(t, goldenTree)
}
