//go:build unix

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// bomb is a little zstd that becomes a GiB of zero bytes.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err)
	}
	zeros := make([]byte, 1<<20)
	for range 1 << 10 {
		_, _ = enc.Write(zeros)
	}
	_ = enc.Close()
	return b.Bytes()
})

// wide is zstd that asks for a large window.
var wide = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(16<<20))
	if err != nil {
		panic(err)
	}
	_, _ = enc.Write(make([]byte, 32<<20))
	_ = enc.Close()
	return b.Bytes()
})

// victim is a destination with a neighbour, and what a symlink in it leads to.
type victim struct {
	t        *testing.T
	top, dst string
	before   map[string]string
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{t: t, top: dir(t)}
	v.dst = filepath.Join(v.top, "dst")
	fstest.Tree(t, v.top, fstest.Spec{
		"dst/old":      fstest.File("old"),
		"dst/sub/kept": fstest.File("kept"),
		"dst/out":      fstest.Link("../outside"),
		"outside/x":    fstest.File("outside"),
	})
	v.before = v.look()
	return v
}

func (v *victim) look() map[string]string {
	v.t.Helper()
	m := fstest.Snapshot(v.t, v.top, fstest.DirTimes)
	for p := range m {
		if strings.HasPrefix(p, "dst/"+stateDir) {
			delete(m, p)
		}
	}
	return m
}

// untouched fails the test if anything changed.
func (v *victim) untouched() {
	v.t.Helper()
	fstest.Equal(v.t, v.before, v.look())
}

// maxMemory is how much a client may take for a liar, in KiB.
const maxMemory = 300 << 10

// survives runs a sync from the liar that must end with one of the classes,
// change nothing and take little memory.
func (v *victim) survives(l *liar, classes []fault.Class, args ...string) *result {
	v.t.Helper()
	if len(args) == 0 {
		args = []string{"-a", l.url}
	}
	p := call{t: v.t}.start(append(append([]string{"sync", "--timeout=20"}, args...), v.dst)...)
	r := p.wait()
	ok := false
	for _, c := range classes {
		ok = ok || r.code == int(c)
	}
	if !ok {
		v.t.Errorf("want one of %v: %v", classes, r)
	}
	if n := len(r.complaint()); n == 0 || n > 2 {
		v.t.Errorf("want one line, and one with the next step: %v", r)
	}
	for _, b := range []byte(r.err + r.out) {
		if b < ' ' && b != '\n' || b == 0x7f {
			v.t.Fatalf("byte %#x reaches the terminal: %q", b, r.err)
		}
	}
	// Until it runs its own program, a process has the memory of its parent.
	var ours syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ours); err != nil {
		v.t.Fatal(err)
	}
	if use, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && use.Maxrss > max(maxMemory, ours.Maxrss) && !heavy {
		v.t.Errorf("took %d KiB of memory", use.Maxrss)
	}
	v.untouched()
	return r
}

// lies are plans that cannot be right, for a destination as newVictim makes it.
func lies() map[string][]manifest.Record {
	const big = 200_000
	data := string(bytes.Repeat([]byte("abcdefghij"), big/10))
	object := digest.NewObject([]byte(data))
	bent := object
	bent.Blocks = append([]digest.Digest(nil), object.Blocks...)
	bent.Blocks[1][5] ^= 1
	other := inline("x", "x")
	other.Digest[0] ^= 1
	long := inline("x", "x")
	long.Size = 2
	huge := file("x", "x", inPack(0, 0))
	huge.Size = 1 << 49
	rootFile := inline("", "x")
	rootLink := symlink("", "x")

	return map[string][]manifest.Record{
		"absolute path":          {root(), inline("/etc/evil", "x")},
		"dots":                   {root(), inline("../evil", "x")},
		"dots inside":            {root(), folder("a"), inline("a/../../evil", "x")},
		"a dot":                  {root(), inline("./evil", "x")},
		"two slashes":            {root(), folder("a"), inline("a//evil", "x")},
		"a slash at the end":     {root(), inline("evil/", "x")},
		"a zero byte":            {root(), inline("e\x00vil", "x")},
		"long name":              {root(), inline(strings.Repeat("n", 256), "x")},
		"long path":              {root(), inline(strings.Repeat("n/", 2100)+"x", "x")},
		"ours":                   {root(), folder(stateDir), inline(stateDir+"/index", "x")},
		"ours, a file":           {root(), inline(stateDir, "x")},
		"ours, deeper":           {root(), folder("sub"), folder("sub/" + stateDir), inline("sub/"+stateDir+"/ready", "x")},
		"ours, in capitals":      {root(), inline(".ROPEWAY", "x")},
		"through a new link":     {root(), symlink("l", "../outside"), inline("l/x", "evil")},
		"through a link of ours": {inline("out/x", "evil")},
		"without its directory":  {root(), inline("a/b/c", "x")},
		"below a file":           {root(), inline("old/x", "x")},
		"out of order":           {root(), inline("b", "x"), inline("a", "x")},
		"twice":                  {root(), inline("a", "x"), inline("a", "y")},
		"two roots":              {root(), root()},
		"the root is a file":     {rootFile},
		"the root is a link":     {rootLink},
		"the root is gone":       {{Op: manifest.Del}},
		"wrong digest":           {root(), other},
		"wrong size":             {root(), long},
		"more than any disk has": {root(), huge},
		"not held":               {root(), file("new", "content", nil)},
		"held otherwise":         {root(), file("old", "content", nil)},
		"unknown way":            {root(), file("x", "x", []byte("?"))},
		"unknown note":           {root(), note("x", []byte("?"))},
		"empty note":             {root(), note("x", nil)},
		"content of a directory": {{Entry: folder("").Entry, Ext: []byte("ix")}},
		"copy from outside":      {root(), file("x", "outside", []byte("c../outside/x"))},
		"copy through a link":    {root(), file("x", "outside", []byte("cout/x"))},
		"copy of nothing":        {root(), file("x", "old", []byte("cnothing"))},
		"copy of something else": {root(), file("x", "new", []byte("cold"))},
		"copy of ours":           {root(), file("x", "new", []byte("c"+stateDir+"/lock"))},
		"spans without a note":   {root(), file("x", data, []byte("s"))},
		"spans of another file":  {root(), note("y", spanNote(big, object)), file("x", data, []byte("s"))},
		"spans of another size":  {root(), note("x", spanNote(big-1, object)), file("x", data, []byte("s"))},
		"spans do not compose":   {root(), note("x", spanNote(big, bent)), file("x", data, []byte("s"))},
		"span that never ends":   {root(), note("x", spanNote(1<<50, object))},
		"pack never announced":   {root(), file("x", data, inPack(0, 0))},
		"pack of the far future": {root(), file("x", data, inPack(99, 0))},
		"pack out of turn":       {root(), note("", packHere(7, big, stored(3, []byte("abc"))))},
		"pack too short":         {root(), file("x", data, inPack(0, 0)), note("", packHere(0, 3, stored(3, []byte("abc"))))},
		"pack that is none":      {root(), file("x", data, inPack(0, 0)), note("", packHere(0, big, []byte("not a pack at all")))},
		"pack with another file": {root(), file("x", "abd", inPack(0, 0)), note("", packHere(0, 3, stored(3, []byte("abc"))))},
		"patch never announced":  {root(), file("x", data, []byte("d"))},
		"patch that is none":     {root(), file("x", data, []byte("d")), note("", patchHere(big, []byte("not a patch at all")))},
		"patch for nothing":      {root(), note("", patchHere(big, []byte("no file waits for it")))},
		"patch twice":            {root(), note("", patchHere(0, []byte("one"))), note("", patchHere(0, []byte("two")))},
		"pack is a bomb":         {root(), file("x", data, inPack(0, 0)), note("", packHere(0, big, stored(256<<10, bomb())))},
		"pack claims a bomb":     {root(), file("x", data, inPack(0, 0)), note("", packHere(0, big, stored(1<<31, bomb())))},
	}
}

// TestLyingPlans has plans that cannot be right: the client must say so, and
// leave what it has as it is.
func TestLyingPlans(t *testing.T) {
	t.Parallel()
	for name, plan := range lies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := (&liar{plan: func(s *speech) {
				s.base()
				s.segment(plan...)
				s.end()
			}}).start(t)
			// A span that is asked for before the lie about it is seen is not there.
			classes := []fault.Class{fault.Integrity, fault.Incompatible, fault.NotFound}
			if name == "more than any disk has" || name == "span that never ends" {
				classes = []fault.Class{fault.Limit, fault.Integrity, fault.NotFound}
			}
			newVictim(t).survives(l, classes)
			if n := l.plans.Load(); n > 4 {
				t.Errorf("asked for %d plans", n)
			}
		})
	}
}

// TestLyingFrames has answers that are not what they should be, below the
// level of records.
func TestLyingFrames(t *testing.T) {
	t.Parallel()
	zeros := func(n int) []byte { return make([]byte, n) }
	for name, c := range map[string]struct {
		plan    func(*speech)
		classes []fault.Class
	}{
		"garbage":          {plan: func(s *speech) { s.raw([]byte("<html>it works</html>" + strings.Repeat(" ", 1<<20))) }},
		"unknown kind":     {plan: func(s *speech) { s.frame('!', []byte("x")) }},
		"huge frame":       {plan: func(s *speech) { s.raw([]byte("S\xff\xff\xff\xff\xff\xff\xff\xff\x7f")) }},
		"frame over limit": {plan: func(s *speech) { s.frame(wire.KindSegment, zeros(wire.MaxFrame+1)) }},
		"a request back":   {plan: func(s *speech) { s.frame(wire.KindRequest, s.req.Marshal()) }},
		"bad message":      {plan: func(s *speech) { s.frame(wire.KindEnd, []byte("\xff\xff\xff")) }},
		"segment skipped": {plan: func(s *speech) {
			s.base()
			s.next = 1
			s.segment(root())
			s.end()
		}},
		"segment repeated": {plan: func(s *speech) {
			s.base()
			s.segment(root())
			s.next = 0
			s.segment(inline("x", "x"))
			s.end()
		}},
		"not compressed": {plan: func(s *speech) {
			s.frame(wire.KindSegment, (&wire.Segment{Body: []byte("not zstd at all")}).Marshal())
			s.end()
		}},
		"segment is a bomb": {plan: func(s *speech) {
			s.frame(wire.KindSegment, (&wire.Segment{Body: bomb()}).Marshal())
			s.end()
		}},
		"records are garbage": {plan: func(s *speech) {
			s.base()
			s.packed(bytes.Repeat([]byte("\x05\xff\x01\x02\x03\x04"), 1000))
			s.end()
		}},
		"wrong number of segments": {plan: func(s *speech) {
			s.base()
			s.segment(root(), inline("x", "x"))
			s.ends(wire.End{Segments: 7})
		}},
		"wrong tree": {plan: func(s *speech) {
			s.base()
			s.segment(root(), inline("x", "x"))
			s.ends(wire.End{Tree: digest.Sum([]byte("another"))})
		}},
		"unchanged, it says": {plan: func(s *speech) {
			s.base()
			s.frame(wire.KindUnchanged, (&wire.End{Tree: digest.Sum([]byte("another"))}).Marshal())
		}},
		"unchanged with changes": {plan: func(s *speech) {
			s.base()
			s.segment(root(), inline("x", "x"))
			s.frame(wire.KindUnchanged, (&wire.End{Tree: s.hash.Tree(), Segments: 1}).Marshal())
		}},
		"needs without end": {plan: func(s *speech) {
			s.base()
			s.frame(wire.KindNeed, (&wire.Need{Base: true}).Marshal())
		}},
		"fails with colours": {plan: func(s *speech) {
			s.frame(wire.KindFail, (&wire.Fail{
				Class: "integrity", Text: "\x1b[2J\x1b]0;owned\a\nropeway: all is well\u009b31m" + strings.Repeat("A", 100_000), Hint: "\x1b[1A\rrm -rf /",
			}).Marshal())
		}},
		"fails without a reason": {plan: func(s *speech) { s.frame(wire.KindFail, nil) }, classes: []fault.Class{fault.Other}},
		"fails as success": {plan: func(s *speech) {
			s.frame(wire.KindFail, (&wire.Fail{Class: "ok", Text: "done"}).Marshal())
		}, classes: []fault.Class{fault.Other}},
		"fails as interrupted": {plan: func(s *speech) {
			s.frame(wire.KindFail, (&wire.Fail{Class: "interrupted", Text: "you did it"}).Marshal())
		}, classes: []fault.Class{fault.Other, fault.Integrity}},
		"fails as partial": {plan: func(s *speech) {
			s.frame(wire.KindFail, (&wire.Fail{Class: "partial", Text: "almost"}).Marshal())
		}, classes: []fault.Class{fault.Other, fault.Integrity, fault.Partial}},
		"ends after nothing": {plan: func(s *speech) { s.base() }, classes: []fault.Class{fault.Network}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.classes == nil {
				c.classes = []fault.Class{fault.Integrity, fault.Incompatible}
			}
			v := newVictim(t)
			l := (&liar{plan: c.plan}).start(t)
			args := []string{"-a", l.url}
			if name == "ends after nothing" {
				args = append([]string{"--timeout=3"}, args...)
			}
			v.survives(l, c.classes, args...)
		})
	}
}

// TestLyingRemarks has remarks without end and with colours.
func TestLyingRemarks(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	l := (&liar{plan: func(s *speech) {
		s.base()
		for i := range 20_000 {
			s.frame(wire.KindWarn, (&wire.Warn{Path: fmt.Sprintf("p\x1b[2J\n%d", i), Text: "\x1b[31mred\n" + strings.Repeat("z", 10)}).Marshal())
		}
		s.frame(wire.KindFail, (&wire.Fail{Class: "denied", Text: "enough"}).Marshal())
	}}).start(t)
	r := v.survives(l, []fault.Class{fault.Denied})
	if n := strings.Count(r.err, "\n"); n > 10_100 {
		t.Errorf("%d lines", n)
	}
}

// TestLyingAnswers has answers that are no plans.
func TestLyingAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status  int
		header  map[string]string
		body    string
		classes []fault.Class
		words   string
	}{
		"another protocol": {status: 426, body: `{"class":"incompatible","text":"protocol 7 is needed, the client speaks 0","hint":"update ropeway"}`, classes: []fault.Class{fault.Incompatible}, words: "protocol 7"},
		"update, in html":  {status: 426, body: "<h1>Upgrade Required</h1>", classes: []fault.Class{fault.Incompatible}, words: "426"},
		"nothing there":    {status: 404, body: "<html>\x1b[2J</html>", classes: []fault.Class{fault.NotFound}, words: "404"},
		"no":               {status: 403, body: "no", classes: []fault.Class{fault.Denied}, words: "403"},
		"not allowed":      {status: 405, body: "no", classes: []fault.Class{fault.Other}, words: "405"},
		"elsewhere":        {status: 301, header: map[string]string{"Location": "https://127.0.0.1:1/v1/m/m/plan"}, classes: []fault.Class{fault.Network, fault.Other, fault.Incompatible}, words: "301"},
		"success, it says": {status: 400, body: `{"class":"ok","text":"all is well"}`, classes: []fault.Class{fault.Other, fault.Usage}},
		"no content":       {status: 204, classes: []fault.Class{fault.Network, fault.Other, fault.Incompatible}, words: "204"},
		"broken":           {status: 500, body: "oops", classes: []fault.Class{fault.Network, fault.Other}, words: "500"},
		"much of nothing":  {status: 403, body: strings.Repeat("x", 10<<20), classes: []fault.Class{fault.Denied}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := (&liar{any: func(w http.ResponseWriter, _ *http.Request) bool {
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
				return true
			}}).start(t)
			r := newVictim(t).survives(l, c.classes, "--timeout=3", "-a", l.url)
			if !strings.Contains(r.err, c.words) {
				t.Errorf("does not say %q: %v", c.words, r)
			}
			if r.took > patience/2 {
				t.Errorf("took %v", r.took)
			}
		})
	}
}

// TestLyingObjects has plans that are right and content that is not.
func TestLyingObjects(t *testing.T) {
	t.Parallel()
	data := []byte(strings.Repeat("0123456789abcdef", 20_000)) // 5 blocks
	object := digest.NewObject(data)
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, from, to int){
		"other bytes": func(w http.ResponseWriter, _ *http.Request, from, to int) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(bytes.Repeat([]byte("x"), to-from+1))
		},
		"one bit": func(w http.ResponseWriter, _ *http.Request, from, to int) {
			b := bytes.Clone(data[from : to+1])
			b[len(b)/2] ^= 4
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(b)
		},
		"a bomb": func(w http.ResponseWriter, _ *http.Request, _, _ int) {
			w.Header().Set("Content-Encoding", "zstd")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(bomb())
		},
		"a wide window": func(w http.ResponseWriter, _ *http.Request, _, _ int) {
			w.Header().Set("Content-Encoding", "zstd")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(wide())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &liar{plan: func(s *speech) {
				s.base()
				s.segment(root(), note("x", spanNote(int64(len(data)), object)), file("x", string(data), []byte("s")))
				s.end()
			}}
			l.object = func(w http.ResponseWriter, r *http.Request) {
				var from, to int
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil {
					t.Errorf("range %q", r.Header.Get("Range"))
				}
				answer(w, r, from, to)
			}
			newVictim(t).survives(l.start(t), []fault.Class{fault.Integrity, fault.Network}, "--timeout=5", "-a", l.url)
			if n := l.gets.Load(); n > 1000 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestMoreThanWasAskedFor has a server that sends along what nobody asked for.
func TestMoreThanWasAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		path string
		plan []manifest.Record
	}{
		"beside a file":       {path: "new", plan: []manifest.Record{root(), inline(".bashrc", "evil"), inline("new", "new")}},
		"below a file":        {path: "new", plan: []manifest.Record{root(), folder("new"), inline("new/x", "x"), inline("newer", "evil")}},
		"over what is there":  {path: "new", plan: []manifest.Record{root(), inline("new", "new"), inline("old", "evil")}},
		"deletes beside":      {path: "new", args: []string{"--delete"}, plan: []manifest.Record{root(), inline("new", "new"), {Op: manifest.Del, Entry: manifest.Entry{Path: "old"}}}},
		"what is excluded":    {args: []string{"--exclude=.ssh"}, plan: []manifest.Record{root(), folder(".ssh"), inline(".ssh/authorized_keys", "evil")}},
		"over what is hidden": {args: []string{"--exclude=/old"}, plan: []manifest.Record{root(), inline("old", "evil")}},
		"not on the list":     {args: []string{"--files-from=LIST"}, plan: []manifest.Record{root(), inline("evil", "evil"), inline("new", "new")}},
		"deeper than asked":   {args: []string{"--no-r"}, plan: []manifest.Record{root(), folder("a"), inline("a/evil", "evil")}},
		"links not asked for": {args: []string{"--no-l"}, plan: []manifest.Record{root(), symlink("evil", "/etc")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := (&liar{plan: func(s *speech) {
				s.base()
				s.segment(c.plan...)
				s.end()
			}}).start(t)
			v := newVictim(t)
			list := filepath.Join(dir(t), "list")
			write(t, list, "new\n")
			args := []string{"-a"}
			for _, a := range c.args {
				args = append(args, strings.ReplaceAll(a, "LIST", list))
			}
			r := run(t, append([]string{"sync", "--timeout=20"}, append(args, l.at(c.path), v.dst)...)...)
			for p, was := range v.before {
				if now := v.look()[p]; now != was {
					t.Errorf("%s: was %s, is %s", p, was, now)
				}
			}
			for _, p := range []string{".bashrc", "newer", ".ssh", "evil", "a/evil"} {
				if _, err := os.Lstat(filepath.Join(v.dst, p)); err == nil {
					t.Errorf("%s came: %v", p, r)
				}
			}
			if r.code != int(fault.Integrity) && name != "deletes beside" { // what it held was told of, and may be gone
				t.Errorf("not refused: %v", r)
			}
		})
	}
}
