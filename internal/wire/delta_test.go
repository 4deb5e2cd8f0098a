package wire

import (
	"bytes"
	"net/url"
	"reflect"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
)

func TestDeltaMessages(t *testing.T) {
	part := Part{Off: 5, Len: 7, Object: digest.NewObject(make([]byte, 200_000))}
	for _, p := range []Part{part, {Off: 0, Len: 1, Data: []byte("x")}} {
		var got Part
		if err := got.Unmarshal(p.Marshal()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Marshal(), got.Marshal()) {
			t.Errorf("%+v became %+v", p, got)
		}
	}
	r := Refine{State: digest.Sum(nil), Gaps: 9, Ranges: []byte{1, 2, 3}}
	var back Refine
	if err := back.Unmarshal(r.Marshal()); err != nil || !reflect.DeepEqual(r, back) {
		t.Errorf("%+v became %+v: %v", r, back, err)
	}
	for _, p := range []Part{{}, {Len: 1}, {Len: 1, Data: make([]byte, MaxInlinePart+1)}, {Len: 1, Object: digest.Object{Size: digest.MaxObject + 1}}} {
		if err := new(Part).Unmarshal(p.Marshal()); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
}

func TestDeltaRef(t *testing.T) {
	for _, d := range []DeltaRef{
		{Span: SpanRef{Path: "a/b", Tag: 7, Tagged: true}},
		{Span: SpanRef{Path: "a/b", Tag: 7, Tagged: true}, State: digest.Sum(nil)},
		{Pack: digest.Sum([]byte{1})},
		{Pack: digest.Sum([]byte{1}), State: digest.Sum(nil)},
	} {
		q, err := url.ParseQuery(d.Query())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseDeltaRef(q); err != nil || got != d {
			t.Errorf("%+v became %+v: %v", d, got, err)
		}
	}
	for _, bad := range []string{"", "k=1", "p=YQ&o=4194304&t=1", "p=YQ&o=0&t=1&s=x", "p=Li4&o=0&t=1"} {
		q, _ := url.ParseQuery(bad)
		if d, err := ParseDeltaRef(q); err == nil {
			t.Errorf("%q is %+v", bad, d)
		}
	}
}

func FuzzDelta(f *testing.F) {
	p := Part{Off: 5, Len: 7, Object: digest.NewObject(make([]byte, 100))}
	f.Add(p.Marshal())
	f.Add((&Refine{Gaps: 1, Ranges: []byte{1}}).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Part
		if p.Unmarshal(b) == nil && len(p.Data) == 0 && p.Object.Check() != nil {
			t.Fatalf("%+v", p)
		}
		_ = new(Refine).Unmarshal(b)
	})
}
