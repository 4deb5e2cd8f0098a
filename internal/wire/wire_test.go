package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
)

type message interface {
	Marshal() []byte
	Unmarshal([]byte) error
}

func messages() []message {
	d, e := digest.Sum([]byte("d")), digest.Sum([]byte("e"))
	return []message{
		&PlanRequest{Job: "0123456789abcdef", From: 7, Path: "a/\xff", One: true, Mask: 31, Recursive: true, OmitRoot: true, Filter: []byte("- *.o\n"), Whole: true},
		&Base{Tree: d, Uploads: []digest.Digest{d, e}, Changes: []byte("xyz")},
		&Work{Stage: "hash", Files: 1, Bytes: 1 << 60, Total: 3},
		&Segment{Index: 3, Body: []byte("body")},
		&Need{Base: true, Uploads: []digest.Digest{e}},
		&End{Tree: d, Segments: 4, Entries: 5, Files: 6, Bytes: 7, Skipped: 8, Partial: true},
		&Fail{Class: "denied", Text: "no", Hint: "ask"},
		&Warn{Path: "p\n", Text: "vanished"},
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range messages() {
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		if err := got.Unmarshal(m.Marshal()); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v, %v", m, got, err)
		}
	}
}

func TestFrames(t *testing.T) {
	var buf bytes.Buffer
	for i, m := range messages() {
		if err := WriteFrame(&buf, Kind('a'+i), m.Marshal()); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.Clone(buf.Bytes())
	r := bufio.NewReader(&buf)
	for i, m := range messages() {
		k, b, err := ReadFrame(r)
		if err != nil || k != Kind('a'+i) || !bytes.Equal(b, m.Marshal()) {
			t.Fatalf("frame %d: %c %q %v", i, k, b, err)
		}
	}
	if _, _, err := ReadFrame(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	r = bufio.NewReader(bytes.NewReader(whole[:len(whole)-1]))
	var err error
	for err == nil {
		_, _, err = ReadFrame(r)
	}
	if errors.Is(err, io.EOF) {
		t.Error("a cut frame reads as a clean end")
	}
	if _, _, err := ReadFrame(bufio.NewReader(bytes.NewReader([]byte{'S', 0xff, 0xff, 0xff, 0x7f}))); !errors.Is(err, ErrFrame) {
		t.Errorf("an oversized frame: %v", err)
	}
}

func TestBoundsAreKept(t *testing.T) {
	for _, bad := range []PlanRequest{{Job: "short"}, {Job: "has spaces in it"}, {Job: "0123456789", Filter: make([]byte, MaxFilter+1)}} {
		if new(PlanRequest).Unmarshal(bad.Marshal()) == nil {
			t.Errorf("%.60v accepted", bad)
		}
	}
	if new(Base).Unmarshal((&Base{Uploads: make([]digest.Digest, MaxUploads+1)}).Marshal()) == nil {
		t.Error("too many uploads accepted")
	}
}

func FuzzMessages(f *testing.F) {
	for i, m := range messages() {
		f.Add(i, m.Marshal())
	}
	f.Fuzz(func(t *testing.T, i int, b []byte) {
		all := messages()
		m := all[uint(i)%uint(len(all))]
		if m.Unmarshal(b) != nil {
			return
		}
		again := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		if err := again.Unmarshal(m.Marshal()); err != nil || !bytes.Equal(again.Marshal(), m.Marshal()) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{'S', 3, 1, 2, 3})
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			if _, _, err := ReadFrame(r); err != nil {
				return
			}
		}
	})
}
