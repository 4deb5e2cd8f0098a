//go:build unix

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/server/push"
	"github.com/ropeway/ropeway/internal/wire"
)

// TestLyingDifferences has a server whose differences are wrong in every way:
// that costs time, and nothing else.
func TestLyingDifferences(t *testing.T) {
	t.Parallel()
	old := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog. "), 10_000)
	data := bytes.Clone(old)
	copy(data[200_000:], "another animal")
	object := digest.NewObject(data)
	frames := func(f func(io.Writer)) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			f(w)
		}
	}
	part := func(data []byte, size int64) []byte {
		return (&wire.Part{Len: size, Data: data}).Marshal()
	}
	for name, lie := range map[string]func(http.ResponseWriter, *http.Request){
		"none":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"broken":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"cut":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"empty":     frames(func(io.Writer) {}),
		"garbage":   frames(func(w io.Writer) { _, _ = w.Write(bytes.Repeat([]byte("garbage"), 100_000)) }),
		"bad parts": frames(func(w io.Writer) { _ = wire.WriteFrame(w, wire.KindPart, part([]byte("garbage"), 1000)) }),
		"a bomb":    frames(func(w io.Writer) { _ = wire.WriteFrame(w, wire.KindPart, part(append([]byte{0}, bomb()...), 1<<20)) }),
		"refines": frames(func(w io.Writer) {
			_ = wire.WriteFrame(w, wire.KindRefine, (&wire.Refine{State: object.ID, Gaps: 1 << 50, Ranges: []byte{1, 0, 100}}).Marshal())
		}),
		"ends": frames(func(w io.Writer) { _ = wire.WriteFrame(w, wire.KindDone, nil) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &liar{delta: lie, plan: func(s *speech) {
				s.base()
				s.segment(root(), note("x", spanNote(int64(len(data)), object)), file("x", string(data), []byte("s")))
				s.end()
			}}
			l.object = func(w http.ResponseWriter, r *http.Request) {
				var from, to int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[from : to+1])
			}
			dst := filepath.Join(dir(t), "dst")
			write(t, dst+"/x", string(old))
			r := run(t, "sync", "-a", "--no-W", l.start(t).url, dst).ok()
			if read(t, dst+"/x") != string(data) {
				t.Error("wrong content")
			}
			if n := l.deltas.Load(); n == 0 || n > 10 {
				t.Errorf("%d differences were asked for", n)
			}
			if r.took > soon {
				t.Errorf("took %v", r.took)
			}
		})
	}
}

// dialer makes lanes to a server with its own token.
func dialer(t *testing.T, url string) *lane.Dialer {
	t.Helper()
	u, err := auth.ParseURL(url)
	must(t, err)
	return &lane.Dialer{Endpoint: u}
}

// TestLyingPushers has clients that push what cannot be right.
func TestLyingPushers(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	s := serve(t, v.dst, "--writable")
	set, err := new(filter.Builder).Build()
	must(t, err)
	for name, plan := range lies() {
		l := &liar{t: t, plan: func(s *speech) {
			s.base()
			s.segment(plan...)
			s.end()
		}}
		c := push.Client{Dialer: dialer(t, s.url), Module: "m", Origin: l, Timeout: 20 * time.Second, ConnectTimeout: 20 * time.Second}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		mask := manifest.Perm | manifest.Times | manifest.Owner | manifest.Group | manifest.Links
		sum, err := c.Run(ctx, push.Request{Mask: mask, Recursive: true, Filter: set.AppendText(nil), Delete: true, MaxDelete: -1}, event.Discard)
		cancel()
		switch fault.ClassOf(err) {
		case fault.Integrity, fault.Incompatible, fault.Limit, fault.NotFound: // as in TestLyingPlans
		default:
			t.Errorf("%s: %v, %+v", name, err, sum)
		}
		v.untouched()
		if t.Failed() {
			t.Fatalf("%s: %v", name, err)
		}
	}
	write(t, v.top+"/src/f", "f")
	run(t, "sync", "-a", v.top+"/src/", s.url).ok()
	if read(t, v.dst+"/f") != "f" {
		t.Error("nothing came")
	}
}

// TestLyingClients has clients that ask for what cannot be: the server refuses,
// says why, and serves on.
func TestLyingClients(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/f", "f")
	s := serve(t, src, "--writable")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	frame := func(k wire.Kind, b []byte) []byte {
		var buf bytes.Buffer
		_ = wire.WriteFrame(&buf, k, b)
		return buf.Bytes()
	}
	request := func(change func(*wire.PlanRequest)) []byte {
		q := wire.PlanRequest{Job: "job00001", Mask: 31, Recursive: true}
		change(&q)
		return frame(wire.KindRequest, q.Marshal())
	}
	zero := digest.Sum(nil).String()
	u, err := auth.ParseURL(s.url)
	must(t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for name, c := range map[string]struct {
		method, path string
		body         []byte
		protocol     string
		status       []int
	}{
		"another protocol":   {"POST", "plan", nil, "7", []int{426}},
		"no frames":          {"POST", "plan", []byte("hello"), "", []int{400}},
		"a huge frame":       {"POST", "plan", []byte("Q\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "", []int{400}},
		"no job":             {"POST", "plan", request(func(q *wire.PlanRequest) { q.Job = "" }), "", []int{400}},
		"an odd job":         {"POST", "plan", request(func(q *wire.PlanRequest) { q.Job = "../../etc/passwd" }), "", []int{400}},
		"out of the module":  {"POST", "plan", request(func(q *wire.PlanRequest) { q.Path = "../.." }), "", []int{400}},
		"an absolute path":   {"POST", "plan", request(func(q *wire.PlanRequest) { q.Path = "/etc" }), "", []int{400}},
		"what is ours":       {"POST", "plan", request(func(q *wire.PlanRequest) { q.Path = stateDir }), "", []int{404}},
		"in the middle":      {"POST", "plan", request(func(q *wire.PlanRequest) { q.From = 1 << 60 }), "", []int{410, 503}},
		"an odd filter":      {"POST", "plan", request(func(q *wire.PlanRequest) { q.Filter = []byte("do as you like\n") }), "", []int{400}},
		"a long filter":      {"POST", "plan", request(func(q *wire.PlanRequest) { q.Filter = bytes.Repeat([]byte("- x\n"), 1<<19) }), "", []int{400}},
		"another upload":     {"PUT", "up/" + zero, []byte("something else"), "", []int{400}},
		"a long upload":      {"PUT", "up/" + zero, make([]byte, 5<<20), "", []int{413}},
		"no digest":          {"PUT", "up/x", nil, "", []int{400}},
		"no object":          {"GET", "o/" + zero, nil, "", []int{410}},
		"a span outside":     {"GET", "o/" + zero + "?" + wire.SpanRef{Path: "../secret"}.Query(), nil, "", []int{400}},
		"a span of nothing":  {"GET", "o/" + zero + "?" + wire.SpanRef{Path: "nothing"}.Query(), nil, "", []int{410}},
		"a wrong offset":     {"GET", "o/" + zero + "?p=Zg&o=-4194304&t=0", nil, "", []int{400}},
		"no push":            {"POST", "push", []byte("{"), "", []int{400}},
		"a push of nothing":  {"POST", "push", []byte("{}\n"), "", []int{400}},
		"a push to outside":  {"POST", "push", []byte(`{"job":"job00001","path":"../x","mask":31,"max_delete":-1}` + "\n"), "", []int{400}},
		"a long push":        {"POST", "push", append([]byte(`{"job":"`), bytes.Repeat([]byte("x"), 8<<20)...), "", []int{400, 413}},
		"no such method":     {"DELETE", "plan", nil, "", []int{404, 405}},
		"no such route":      {"GET", "no/such/route", nil, "", []int{404}},
		"a lane without job": {"GET", "lane?job=x&ticket=y", nil, "", []int{400, 404, 405, 426}},
	} {
		req, err := http.NewRequestWithContext(ctx, c.method, "https://"+s.addr()+"/v1/m/m/"+c.path, bytes.NewReader(c.body))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+u.Token)
		req.Header.Set(wire.ProtocolHeader, cmp.Or(c.protocol, strconv.Itoa(wire.Protocol)))
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		_ = resp.Body.Close()
		ok := false
		for _, status := range c.status {
			ok = ok || resp.StatusCode == status
		}
		if !ok {
			t.Errorf("%s: status %d, want %v: %s", name, resp.StatusCode, c.status, body)
		}
		if strings.Contains(string(body), src) || strings.Contains(string(body), "goroutine") {
			t.Errorf("%s: tells too much: %s", name, body)
		}
	}
	if !s.running() {
		t.Fatalf("the server ended: %v", s.wait())
	}
	dst := filepath.Join(dir(t), "dst")
	run(t, "sync", "-a", s.url, dst).ok()
	same(t, src, dst)
}
