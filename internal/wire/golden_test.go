package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
)

// TestGoldenFrames pins the bytes of every message. docs/protocol.md shows the
// same: a change here is a change of the protocol.
func TestGoldenFrames(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	a, b := digest.Sum([]byte("a")), digest.Sum([]byte("b"))
	for _, x := range []struct {
		kind Kind
		m    message
		want string
	}{
		{KindRequest, &PlanRequest{
			Job: "job00001", From: 3, Path: "app/lib", One: true, Mask: 19, Recursive: true, OmitRoot: true,
			Filter: []byte("- *.log\n"), Whole: true, Fresh: true, Fast: true, Patch: PatchPays, Rate: 1250000,
		}, "51330a086a6f62303030303110031a076170702f6c6962200128133001380142082d202a2e6c6f670a480150015801600168d0a54c"},
		{
			KindBase, &Base{Tree: a, Changes: []byte{1, 2, 3}},
			"42270a2017762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f1a03010203",
		},
		{
			KindBase, &Base{Uploads: []digest.Digest{a, b}},
			"4244122017762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f122010e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb22410190044c1d553",
		},
		{
			KindWork, &Work{Stage: "scan", Files: 1000, Bytes: 1 << 32, Total: 1 << 33},
			"57150a047363616e10e807188080808010208080808020",
		},
		{KindSegment, &Segment{Index: 1, Body: []byte{0x28, 0xb5}}, "53060801120228b5"},
		{
			KindNeed, &Need{Base: true, Uploads: []digest.Digest{b}},
			"4e240801122010e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb22410190044c1d553",
		},
		{
			KindEnd, &End{Tree: a, Segments: 2, Entries: 300, Files: 200, Bytes: 1 << 20, Skipped: 1, Partial: true},
			"45320a2017762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f100218ac0220c8012880804030013801",
		},
		{
			KindUnchanged, &End{Tree: a, Entries: 300, Files: 200, Bytes: 1 << 20},
			"552c0a2017762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f18ac0220c80128808040",
		},
		{KindFail, &Fail{Class: "denied", Text: "no", Hint: "ask"}, "46110a0664656e69656412026e6f1a0361736b"},
		{KindWarn, &Warn{Path: "a/b", Text: "vanished"}, "410f0a03612f62120876616e6973686564"},
	} {
		var frame bytes.Buffer
		if err := WriteFrame(&frame, x.kind, x.m.Marshal()); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(frame.Bytes()); got != x.want {
			t.Errorf("%c: %s, want %s", x.kind, got, x.want)
		}
		if !strings.Contains(string(doc), "`"+x.want+"`") {
			t.Errorf("%c: docs/protocol.md does not show %s", x.kind, x.want)
		}
		in, err := hex.DecodeString(x.want)
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(bytes.NewReader(in))
		kind, payload, err := ReadFrame(r)
		if kind != x.kind || err != nil {
			t.Fatal(kind, err)
		}
		got := reflect.New(reflect.TypeOf(x.m).Elem()).Interface().(message)
		if err := got.Unmarshal(payload); err != nil || !reflect.DeepEqual(got, x.m) {
			t.Errorf("%c: %+v, want %+v, %v", x.kind, got, x.m, err)
		}
		if _, _, err := ReadFrame(r); err != io.EOF {
			t.Errorf("%c: after the frame: %v", x.kind, err)
		}
	}
}

// TestGoldenSpanQuery pins the query of a request for a span.
func TestGoldenSpanQuery(t *testing.T) {
	ref := SpanRef{Path: "app/lib/\xff.jar", Offset: 8 << 20, Tag: 0x0123456789abcdef, Tagged: true}
	const want = "p=YXBwL2xpYi__Lmphcg&o=8388608&t=123456789abcdef"
	if got := ref.Query(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	q, err := url.ParseQuery(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSpanRef(q); err != nil || got != ref {
		t.Errorf("%+v, %v", got, err)
	}
	// A mirror is asked without the tag.
	bare := SpanRef{Path: ref.Path, Offset: ref.Offset}
	if got := bare.Query(); got != strings.TrimSuffix(want, "&t=123456789abcdef") {
		t.Error(got)
	} else if q, err = url.ParseQuery(got); err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSpanRef(q); err != nil || got != bare {
		t.Errorf("%+v, %v", got, err)
	}
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "`"+want+"`") {
		t.Errorf("docs/protocol.md does not show %s", want)
	}
}
