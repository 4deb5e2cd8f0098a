//go:build unix

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
)

// other replaces the last part of s that matches by something of its kind.
func other(t *testing.T, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("no %q in %q", old, s)
	}
	return strings.Replace(s, old, new, 1)
}

func TestWrongTokenAndWrongPin(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/f", "content")
	s := serve(t, src)
	_, rest, _ := strings.Cut(s.url, "x:")
	token, _, _ := strings.Cut(rest, "@")
	_, pin, _ := strings.Cut(s.url, "#pin=sha256//")
	wrongPin := "A" + pin[1:]
	if wrongPin == pin {
		wrongPin = "B" + pin[1:]
	}
	for _, verb := range []string{"pull", "push", "ls"} {
		dst := filepath.Join(dir(t), "dst")
		args := func(url string) []string {
			switch verb {
			case "pull":
				return []string{"sync", "-a", url, dst}
			case "push":
				return []string{"sync", "-a", src + "/", url}
			}
			return []string{"ls", url}
		}
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			wrong := other(t, s.url, token, "rw_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
			run(t, args(wrong)...).refuses(fault.Denied, "token")
			run(t, args(other(t, s.url, "x:"+token+"@", ""))...).refuses(fault.Denied, "token")
			run(t, args(other(t, s.url, pin, wrongPin))...).refuses(fault.Integrity, "WRONG SERVER KEY", pin, wrongPin)
			run(t, args(other(t, s.url, "#pin=sha256//"+pin, ""))...).refuses(fault.Denied, "#pin=sha256//"+pin)
			run(t, args(other(t, s.url, "/m/m/", "/m/other/"))...).refuses(fault.Denied, "token")
			if verb == "push" {
				run(t, args(s.url)...).refuses(fault.Denied, "token")
			}
			if _, err := os.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a refused sync left its destination: %v", err)
			}
		})
	}
}

// TestExitCodes has each code of the table of docs/manual.md that no other
// test here has.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	src := dir(t)
	write(t, src+"/f", "content")
	write(t, src+"/d/g", "more")
	s := serve(t, src)
	dst := filepath.Join(dir(t), "dst")

	run(t, "sync", "-a", s.url, dst).ok()
	run(t, "sync", "-a", s.url, dst).ok()
	run(t, "sync", "-a", "--no-such-flag", s.url, dst).refuses(fault.Usage, "--no-such-flag")
	run(t, "sync", "-a", s.url).refuses(fault.Usage, "destination")
	run(t, "sync", "-a", "host:dir", dst).refuses(fault.Usage, "host:dir")
	run(t, "sync", "-a", "--delete", "--no-r", s.url, dst).refuses(fault.Usage, "--delete")
	run(t, "sync", "-a", "--filter=dir-merge .rules", s.url, dst).refuses(fault.Usage, "dir-merge")
	run(t, "sync", "-a", "--files-from=/no/such/list", s.url, dst).refuses(fault.Usage, "/no/such/list")
	run(t, "sync", "-a", "/no/such/dir/", dst).refuses(fault.NotFound, "/no/such/dir")
	run(t, "sync", "-a", src+"/f/", dst).refuses(fault.NotFound, "not a directory")
	run(t, "sync", "-a", s.at("nope/"), dst).refuses(fault.NotFound, "nope")
	run(t, "sync", "-a", s.at("nope"), dst).refuses(fault.NotFound, "nope")
	run(t, "sync", "-a", s.at("f/"), dst).refuses(fault.NotFound, "f")
	run(t, "ls", s.at("nope/")).refuses(fault.NotFound, "nope")
	run(t, "sync", "-a", s.url, "/no/such/parent/dst").refuses(fault.NotFound, "/no/such/parent")
	run(t, "sync", "-a", s.url, src+"/f").refuses(fault.Usage, "not a directory")
	run(t, "sync", "-a", src+"/", src+"/d/").refuses(fault.Usage, "inside the source")
	run(t, "serve", "--ephemeral", "/no/such/dir").refuses(fault.NotFound, "/no/such/dir")
	run(t, "serve", "--ephemeral", "--listen="+strings.TrimSuffix(s.addr(), "/"), src).refuses(fault.Busy, "in use")
	run(t, "serve", "--ephemeral", "--listen=203.0.113.1:0", src).refuses(fault.Usage, "203.0.113.1")
	run(t, "sync", "-a", "--contimeout=1", other(t, s.url, s.addr(), closedPort(t)), dst).refuses(fault.Network, "refused")
	run(t, "sync", "-a", "--contimeout=1", src+"/", other(t, s.url, s.addr(), closedPort(t))).refuses(fault.Network, "refused")
	run(t, "ls", "--contimeout=1", other(t, s.url, s.addr(), closedPort(t))).refuses(fault.Network, "refused")
	same(t, src, dst)
}

// TestPathsThatLeave has paths with .. and absolute ones, in URLs and lists.
func TestPathsThatLeave(t *testing.T) {
	t.Parallel()
	top := dir(t)
	src := top + "/src"
	fstest.Tree(t, src, fstest.Spec{
		"d/f": fstest.File("inside"), "up": fstest.Link(".."), "abs": fstest.Link("/etc"), "pass": fstest.Link("/etc/passwd"),
	})
	write(t, top+"/secret", "outside")
	s := serve(t, src, "--writable")
	for _, path := range []string{"../secret", "..%2fsecret", "d/../../secret", "%2e%2e/secret", "up/secret", "abs/passwd", "up/", "abs/", "pass/", "d//f", "./d", "d/%00", ".ropeway/"} {
		dst := filepath.Join(dir(t), "dst")
		for _, args := range [][]string{{"sync", "-a", s.at(path), dst}, {"sync", "-a", top + "/src/d/", s.at(path)}, {"ls", s.at(path)}} {
			r := run(t, args...)
			if r.code == 0 {
				t.Errorf("succeeds: %v", r)
			}
			if len(r.complaint()) == 0 || len(r.complaint()) > 2 {
				t.Errorf("says too little or too much: %v", r)
			}
		}
		if _, err := os.Stat(dst + "/secret"); err == nil {
			t.Errorf("%q: got out", path)
		}
	}
	for _, name := range []string{"../secret", "/etc/passwd", "d/../../secret", "up/secret", "abs/passwd"} {
		list, dst := filepath.Join(dir(t), "list"), filepath.Join(dir(t), "dst")
		write(t, list, name+"\nd/f\n")
		for _, from := range []string{s.url, src + "/"} {
			r := run(t, "sync", "-a", "--files-from="+list, from, dst)
			t.Logf("%q: %v", name, r)
			for _, p := range []string{dst + "/secret", dst + "/etc/passwd", dst + "/passwd", filepath.Dir(dst) + "/secret", dst + "/up/secret", dst + "/abs/passwd"} {
				if b, err := os.ReadFile(p); err == nil && (strings.Contains(string(b), "root:") && !strings.Contains(p, "abs/passwd") || string(b) == "outside" && !strings.Contains(p, "up/secret")) {
					t.Errorf("%q brought %s", name, p)
				}
			}
		}
	}
	if got := read(t, top+"/secret"); got != "outside" {
		t.Errorf("changed: %q", got)
	}
}
