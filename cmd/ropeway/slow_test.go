//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/netsim"
	"github.com/ropeway/ropeway/internal/wire"
)

// soon is the most that a command takes which was told to give up after 2 s.
const soon = 20 * time.Second

// drip writes b a byte a second until the request ends.
func drip(w http.ResponseWriter, r *http.Request, b []byte) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	for i := 0; ; i++ {
		_, _ = w.Write(b[i%len(b) : i%len(b)+1])
		if rc.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// TestServersThatDoNotGetOn has every way to say nothing: each ends in the time
// that was given, with a cause.
func TestServersThatDoNotGetOn(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/f", "f")
	data := strings.Repeat("0123456789", 30_000)
	object := digest.NewObject([]byte(data))
	hold := func(w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	for name, c := range map[string]struct {
		liar  *liar
		mute  bool
		verbs string // but all
	}{
		"no TLS":    {mute: true},
		"no answer": {liar: &liar{any: hold}},
		"head and no body": {verbs: "pull push ls", liar: &liar{any: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			return hold(w, r)
		}}},
		"body drips": {verbs: "pull push ls", liar: &liar{any: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			drip(w, r, []byte(`{"entries":[`+strings.Repeat(" ", 1000)))
			return true
		}}},
		"frame drips": {verbs: "pull", liar: &liar{plan: func(s *speech) {
			s.base()
			s.raw([]byte{byte(wire.KindSegment), 0xff, 0x7f})
			ticks(s, func(int) { s.raw([]byte("x")) })
		}}},
		"counters stand still": {verbs: "pull", liar: &liar{plan: func(s *speech) {
			s.base()
			ticks(s, func(int) { s.frame(wire.KindWork, (&wire.Work{Stage: "scan", Files: 7}).Marshal()) })
		}}},
		"object drips": {verbs: "pull", liar: &liar{
			plan: func(s *speech) {
				s.base()
				s.segment(root(), note("x", spanNote(int64(len(data)), object)), file("x", data, []byte("s")))
				s.end()
			},
			object: func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusPartialContent)
				drip(w, r, []byte(data))
			},
		}},
	} {
		for _, verb := range []string{"pull", "file", "push", "ls"} {
			if c.verbs != "" && !strings.Contains(c.verbs, verb) {
				continue
			}
			t.Run(verb+", "+name, func(t *testing.T) {
				t.Parallel()
				url := "https://x:rw_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@" + "ADDR" + "/m/m/#pin=sha256//3zJYFZ6jyXTb1h9uTUqxMiBUcGFgFEQrCzeN1chMGDM="
				if c.mute {
					url = strings.Replace(url, "ADDR", mute(t, "127.0.0.1:0"), 1)
				} else {
					l := &liar{any: c.liar.any, plan: c.liar.plan, object: c.liar.object}
					url = l.start(t).url
				}
				dst := filepath.Join(dir(t), "dst")
				args := map[string][]string{
					"pull": {"sync", "-a", url, dst},
					"file": {"sync", "-a", other(t, url, "/m/m/", "/m/m/f"), dst},
					"push": {"sync", "-a", src + "/", url},
					"ls":   {"ls", url},
				}[verb]
				limit := soon
				if name == "counters stand still" { // it is believed for 30 s
					if testing.Short() {
						t.Skip("takes 35 s")
					}
					limit += 30 * time.Second
				}
				r := call{t: t, limit: limit}.run(append(args, "--contimeout=2", "--timeout=2")...).refuses(fault.Network)
				if !strings.Contains(r.err, "2s") {
					t.Errorf("does not say how long it waited: %v", r)
				}
			})
		}
	}
}

// ticks calls f a few times a second until the request ends.
func ticks(s *speech, f func(n int)) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 0; s.ctx.Err() == nil; n++ {
		f(n)
		select {
		case <-tick.C:
		case <-s.ctx.Done():
		}
	}
}

// TestServerThatScansForLong is believed while its counters rise, however long
// after --timeout, and what it does is shown.
func TestServerThatScansForLong(t *testing.T) {
	t.Parallel()
	l := (&liar{plan: func(s *speech) {
		s.base()
		end := time.Now().Add(8 * time.Second)
		ticks(s, func(n int) {
			if time.Now().After(end) {
				s.segment(root(), inline("x", "x"))
				s.end()
				s.ctx = closed()
				return
			}
			s.frame(wire.KindWork, (&wire.Work{Stage: "hash", Files: 7, Bytes: int64(n) << 20, Total: 1 << 40}).Marshal())
		})
	}}).start(t)
	dst := filepath.Join(dir(t), "dst")
	r := run(t, "sync", "-a", "--timeout=5", "--json", l.url, dst).ok()
	shown := 0
	for line := range strings.Lines(r.out) {
		var e struct {
			Type, Stage string
			Peer        bool
			Bytes       int64
		}
		must(t, json.Unmarshal([]byte(line), &e))
		if e.Type == "link" {
			t.Errorf("says that the link is down: %s", line)
		}
		if e.Type == "work" && e.Peer && e.Stage == "hash" && e.Bytes > 0 {
			shown++
		}
	}
	if shown < 3 || l.plans.Load() != 1 {
		t.Errorf("%d reports of work, %d plans", shown, l.plans.Load())
	}
	if read(t, dst+"/x") != "x" {
		t.Error("nothing came")
	}
}

// TestBadLinks has links that reset, forget and go dark in the middle.
func TestBadLinks(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*netsim.Link){
		"resets":  func(l *netsim.Link) { l.KillEvery(300_000) },
		"forgets": func(l *netsim.Link) { l.Schedule(netsim.Event{AfterBytes: 1_000_000, Do: netsim.Forget}) },
		"blackout": func(l *netsim.Link) {
			l.Schedule(netsim.Event{AfterBytes: 1_000_000, Do: netsim.BlackoutStart, For: 7 * time.Second})
		},
		"corrupts": func(l *netsim.Link) {
			p := wan()
			p.Corrupt = 0.0005
			l.SetParams(netsim.Both, p)
		},
	} {
		for _, way := range []string{"pull", "push"} {
			t.Run(way+" "+name, func(t *testing.T) {
				t.Parallel()
				src, dst := dir(t), dir(t)
				fstest.Tree(t, src, release(1))
				from := src
				if way == "push" {
					from = dst
				}
				s := serve(t, from, "--writable")
				l, url := link(t, s, wan())
				spoil(l)
				args := []string{"sync", "-a", url, dst}
				if way == "push" {
					args = []string{"sync", "-a", src + "/", url}
				}
				r := run(t, args...).ok()
				same(t, src, dst)
				st := l.Stats()
				if st.Killed == 0 && name != "blackout" && name != "corrupts" {
					t.Error("nothing happened to the link")
				}
				if name == "blackout" && !strings.Contains(r.err, "link down") {
					t.Errorf("does not say that the link was down: %v", r)
				}
				most := int64(7_500_000)
				switch name {
				case "blackout": // what was on its way comes twice
					most = 9_000_000
				case "forgets": // and so does what is asked for once more, up to 2 MiB
					most = 8_500_000
				}
				if sent := st.Up.Delivered + st.Down.Delivered; sent > most {
					t.Errorf("%d bytes crossed the link", sent)
				}
			})
		}
	}
}
