package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ropeway/ropeway/internal/event"
)

// full returns an event of e's type in which no field is zero.
func full(e event.Event) event.Event {
	v := reflect.New(reflect.TypeOf(e)).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Interface().(type) {
		case string, event.Limit:
			f.SetString("täxt " + v.Type().Field(i).Name)
		case bool:
			f.SetBool(true)
		case int, int64, time.Duration:
			f.SetInt(1<<30 + int64(i))
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(1e9, int64(i)).UTC()))
		default:
			panic("a field of a new kind: " + f.Type().String())
		}
	}
	return v.Interface().(event.Event)
}

var kinds = []event.Event{
	event.Start{}, event.Work{}, event.Progress{}, event.Link{}, event.Lane{}, event.Item{}, event.Warn{}, event.Summary{}, event.Exit{},
}

func TestEventRoundTrip(t *testing.T) {
	for _, kind := range kinds {
		for _, e := range []event.Event{kind, full(kind)} {
			b, err := MarshalEvent(e)
			if err != nil {
				t.Fatalf("%T: %v", e, err)
			}
			if bytes.ContainsAny(b, "\r\n") || len(b) > MaxEvent {
				t.Errorf("%q", b)
			}
			got, err := UnmarshalEvent(b)
			if err != nil || got != e {
				t.Errorf("%s\n got %+v, %v\nwant %+v", b, got, err, e)
			}
		}
	}
}

func TestEventNames(t *testing.T) {
	for _, name := range []string{"a/b", "\xff\x00\n\xfe", "\x1b[31m", "\ufffd", "<&>"} {
		e := event.Item{Path: name, Target: name + "t"}
		b, err := MarshalEvent(e)
		if err != nil || !utf8.Valid(b) {
			t.Fatal(err)
		}
		if got, err := UnmarshalEvent(b); got != e {
			t.Errorf("%q: %+v %v", name, got, err)
		}
	}
}

func TestEventBounds(t *testing.T) {
	worst := strings.Repeat("\x01", 1<<20)
	b, err := MarshalEvent(event.Item{Path: worst, Target: worst, Change: worst})
	if err != nil || len(b) > MaxEvent {
		t.Error(len(b), err)
	}
	b, err = MarshalEvent(event.Warn{Text: "a\x1b[0m\nb\xff" + strings.Repeat("é", MaxText)})
	if err != nil {
		t.Fatal(err)
	}
	e, err := UnmarshalEvent(b)
	if w := e.(event.Warn); err != nil || !strings.HasPrefix(w.Text, "a?[0m?bé") || len(w.Text) > MaxText {
		t.Errorf("%.40q %v", w.Text, err)
	}
	if _, err := MarshalEvent(event.Link{Since: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}); !errors.Is(err, ErrEvent) {
		t.Error(err)
	}
	for in, want := range map[string]error{
		`{"type":"new","x":1}`:        ErrUnknownEvent,
		`{}`:                          ErrUnknownEvent,
		`{"type":"work","files":-1}`:  ErrEvent,
		`{"type":"work","files":"1"}`: ErrEvent,
		`[]`:                          ErrEvent,
		``:                            ErrEvent,
		`{"x":"` + strings.Repeat("x", 1<<20) + `"}`: ErrEvent,
	} {
		if _, err := UnmarshalEvent([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.40s: %v", in, err)
		}
	}
	if e, err := UnmarshalEvent([]byte(`{"type":"lane","id":3,"later":{"a":[1]}}`)); e != (event.Lane{ID: 3}) {
		t.Error(e, err)
	}
}

func FuzzUnmarshalEvent(f *testing.F) {
	for _, kind := range kinds {
		b, err := MarshalEvent(full(kind))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"type":"item","path_b64":"//8A"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := UnmarshalEvent(data)
		if err != nil {
			return
		}
		b, err := MarshalEvent(e)
		if errors.Is(err, ErrEvent) {
			return // a time that RFC 3339 cannot hold in UTC
		}
		if err != nil {
			t.Fatal(err)
		}
		if again, err := UnmarshalEvent(b); err != nil || again != e {
			t.Fatalf("%+v is read as %+v, %v", e, again, err)
		}
	})
}
