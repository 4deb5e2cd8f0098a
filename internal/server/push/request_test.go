package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/wire"
)

func TestPostRoundTrip(t *testing.T) {
	expect := "x"
	want := post{Job: "12345678", Seq: 3, Path: "a\xffb", Source: "ü", Expect: &expect, Filter: []byte("- \xff\n"), MaxDelete: -1}
	b, err := json.Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got post
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v %v", b, got, err)
	}
}

func TestBadRequests(t *testing.T) {
	s := New(Config{Module: "m", Root: t.TempDir(), Run: idle})
	defer s.Close()
	for body, text := range map[string]string{
		``:                                 "push request",
		`{"job":`:                          "push request",
		`{"job":"1"}`:                      "job id",
		`{"job":"12345678","path":"../x"}`: "impossible component",
		`{"job":"12345678","path":"/x"}`:   "impossible component",
		`{"job":"12345678","path":{"b64":"L3g="}}`:                              "impossible component",
		`{"job":"12345678","path":"a/.Ropeway/stage"}`:                          "not part of a tree",
		`{"job":"12345678","source":".ropeway"}`:                                "not part of a tree",
		`{"job":"12345678","one":true}`:                                         "name of the one entry",
		`{"job":"12345678","expect":"abc"}`:                                     "no digest",
		`{"job":"12345678","from":-1}`:                                          "event -1",
		`{"job":"12345678","timeout_s":-1}`:                                     "out of range",
		`{"job":"12345678","timeout_s":99999999999999}`:                         "out of range",
		`{"job":"12345678","lanes":100000}`:                                     "out of range",
		`{"job":"12345678","atomic":true,"early":true}`:                         "both at once",
		`{"job":"12345678","filter":"` + "Pz8K" + `"}`:                          "",
		`{"job":"12345678","name":"` + strings.Repeat("x", 2000) + `"}`:         "name of 2000",
		`{"job":"12345678","filter":"` + strings.Repeat("AAAA", 1<<20) + `"}`:   "push request",
		`{"job":"12345678","x":` + strings.Repeat("[", 1<<20) + `}`:             "push request",
		`{"job":"12345678","filter":"` + strings.Repeat("AAAA", 400<<10) + `"}`: "filter of",
	} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/m/m/push", strings.NewReader(body)))
		var r result
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != http.StatusBadRequest || r.Class != "usage" || !strings.Contains(r.Text, text) {
			t.Errorf("%.60s: %d %s", body, w.Code, w.Body)
		}
		if err := refusal(w.Result()); fault.ClassOf(err) != fault.Usage {
			t.Error(err)
		}
	}
}

func TestNoWayOutOfTheModule(t *testing.T) {
	top := t.TempDir()
	root := mkdir(t, top, "root")
	mkdir(t, root, "dir", "sub")
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(root, "link")); err != nil {
		t.Skip(err)
	}
	for path, want := range map[string]fault.Class{
		"": fault.OK, "dir": fault.OK, "dir/sub": fault.OK, "dir/new": fault.OK, "new": fault.OK,
		"new/new": fault.NotFound, "file": fault.Usage, "link": fault.Usage,
	} {
		got, err := destination(root, path)
		if fault.ClassOf(err) != want || err == nil && got != filepath.Join(root, path) {
			t.Error(path, got, err)
		}
	}
	for _, path := range []string{"link/root", "link/new", "file/x"} {
		if got, err := destination(root, path); err == nil {
			t.Error(path, got)
		}
	}
}

func TestReverseRefuses(t *testing.T) {
	s := New(Config{Module: "m", Root: t.TempDir(), Run: idle})
	defer s.Close()
	p := post{Job: "12345678"}
	j, err := s.job(&p, "me")
	if err != nil {
		t.Fatal(err)
	}
	reverse := func(target string) (func(*lane.Conn), error) {
		return s.Reverse(httptest.NewRequest(http.MethodPost, target, nil))
	}
	for _, target := range []string{
		"/v1/m/m/lane", "/v1/m/m/lane?job=12345678", "/v1/m/m/lane?job=12345678&ticket=x", "/v1/m/m/lane?job=87654321&ticket=" + j.ticket,
		"/v1/m/n/lane?job=12345678&ticket=" + j.ticket, "/v1/m/m/push?job=12345678&ticket=" + j.ticket,
	} {
		if use, err := reverse(target); use != nil || fault.ClassOf(err) != fault.NotFound {
			t.Error(target, err)
		}
	}
	good := "/v1/m/m/lane?job=12345678&ticket=" + j.ticket
	if use, err := reverse(good); use == nil || err != nil {
		t.Error(err)
	}
	p.Path = "other"
	if _, err := s.job(&p, "me"); fault.ClassOf(err) != fault.Usage {
		t.Error("one job for two paths", err)
	}
	j.cancel(errWithdrawn)
	<-j.done
	if _, err := reverse(good); fault.ClassOf(err) != fault.NotFound {
		t.Error(err)
	}
}

func TestJobsAreBounded(t *testing.T) {
	root := t.TempDir()
	s := New(Config{Module: "m", Root: root, Run: idle, Jobs: 2})
	defer s.Close()
	for i, name := range []name{"a", "b", "c"} {
		_, err := s.job(&post{Job: "1234567" + string(name), Path: name}, "me")
		if (err == nil) != (i < 2) || err != nil && fault.ClassOf(err) != fault.Network {
			t.Error(err)
		}
	}
	now := time.Now()
	s.Close()
	if _, err := s.job(&post{Job: "12345678", Path: "d"}, "me"); !errors.Is(err, errStopping) {
		t.Error(err)
	}
	s.Sweep(now.Add(time.Hour))
	if len(s.jobs) != 0 {
		t.Error(len(s.jobs))
	}
}

func TestRing(t *testing.T) {
	r := ring{first: 5}
	if items, first, dropped := r.from(1, 9); len(items) != 0 || first != 5 || dropped != 4 {
		t.Error(items, first, dropped)
	}
	for range 10 {
		r.add(make([]byte, ringBytes/4))
	}
	if r.bytes > ringBytes || len(r.items) != 4 || r.first != 11 || r.next() != 15 {
		t.Error(r.bytes, len(r.items), r.first)
	}
	if items, first, dropped := r.from(13, 1); len(items) != 1 || first != 13 || dropped != 0 {
		t.Error(items, first, dropped)
	}
	if items, first, _ := r.from(99, 1); len(items) != 0 || first != 15 {
		t.Error(items, first)
	}
}

func FuzzPost(f *testing.F) {
	b, err := json.Marshal(&post{Job: "12345678", Path: "a\xff", Filter: []byte("- x\n")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		var p post
		if json.NewDecoder(bytes.NewReader(data)).Decode(&p) != nil || p.check() != nil {
			return
		}
		if _, err := p.options(); err != nil && fault.ClassOf(err) != fault.Usage {
			t.Fatal(err)
		}
		if strings.Contains("/"+string(p.Path)+"/", "/../") || p.Job == "" {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzLine(f *testing.F) {
	e, err := wire.MarshalEvent(event.Progress{Done: 1})
	if err != nil {
		f.Fatal(err)
	}
	sum := &event.Summary{Files: 3}
	f.Add(encode(nil, []line{{Hello: &hello{Ticket: "x"}}, {Seq: 1, Event: e}, {Result: newResult(sum, nil)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &pusher{c: &Client{}, events: event.Discard, next: 1, slots: make(chan struct{})}
		for b := range bytes.Lines(data) {
			var l line
			if json.Unmarshal(b, &l) != nil {
				continue
			}
			if res := p.line(&l); res != nil {
				sum, err := res.outcome()
				if err != nil && (fault.ClassOf(err) == fault.OK || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' })) {
					t.Fatal(sum, err)
				}
			}
		}
	})
}
