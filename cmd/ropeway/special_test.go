//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// ways are the directions that a tree can take.
var ways = []string{"pull", "push", "local"}

// route returns the arguments that bring src to dst by a way.
func route(t *testing.T, way, src, dst string) (from, to string) {
	t.Helper()
	switch way {
	case "pull":
		return serve(t, src).url, dst
	case "push":
		must(t, os.MkdirAll(dst, 0o755))
		return src + "/", serve(t, dst, "--writable").url
	}
	return src + "/", dst
}

// TestTortureTree brings a tree of odd names, modes, times and sizes by each
// way, and again for nothing.
func TestTortureTree(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			src, dst := dir(t), filepath.Join(dir(t), "dst")
			spec := fstest.Torture(7, os.Geteuid() == 0)
			if way == "push" { // peers leave no such files behind
				for _, m := range []string{"2755", "4755", "6711"} {
					delete(spec, "modes/file-"+m)
				}
			}
			fstest.Tree(t, src, spec)
			from, to := route(t, way, src, dst)
			run(t, "sync", "-a", "--delete", from, to).ok()
			same(t, src, dst)
			if r := run(t, "sync", "-a", "--delete", from, to).ok(); !strings.Contains(r.out, "nothing to do") {
				t.Errorf("the second run did something: %v", r)
			}
		})
	}
}

// TestNamesThatActOnTerminals are shown harmless and exact in JSON.
func TestNamesThatActOnTerminals(t *testing.T) {
	t.Parallel()
	src, dst := dir(t), filepath.Join(dir(t), "dst")
	for _, name := range []string{"\x1b[2Jred", "new\nline", "b\x80d", strings.Repeat("n", 255), "case", "Case", "CASE"} {
		write(t, filepath.Join(src, name), name)
	}
	s := serve(t, src)
	r := run(t, "sync", "-aiv", s.url, dst).ok()
	for _, b := range []byte(r.out + r.err) {
		if b < ' ' && b != '\n' || b == 0x80 {
			t.Errorf("byte %#x is printed: %q", b, r.out)
			break
		}
	}
	same(t, src, dst)
	r = run(t, "ls", s.url).ok()
	if strings.Contains(r.out, "\x1b") || strings.Contains(r.out, "\x80") || strings.Count(r.out, "\n") != 7 {
		t.Errorf("%v", r)
	}
}

// TestSpecialFiles has what is not a file, at both ends.
func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			src, dst := dir(t), filepath.Join(dir(t), "dst")
			write(t, src+"/file", "file")
			must(t, unix.Mkfifo(src+"/fifo", 0o644))
			socket(t, src+"/socket")
			want := 2
			if os.Geteuid() == 0 {
				d, err := fsys.OpenDir(src)
				must(t, err)
				must(t, d.Mknod("null", manifest.CharDev, 0o666, unix.Mkdev(1, 3)))
				must(t, d.Close())
				want++
			}
			// What is in the way at the destination is no file either.
			write(t, dst+"/keep", "keep")
			must(t, unix.Mkfifo(dst+"/file", 0o644))
			from, to := route(t, way, src, dst)
			r := run(t, "sync", "-a", "--stats", from, to).ok()
			if !strings.Contains(r.out, fmt.Sprintf("%d", want)) {
				t.Errorf("does not say how many were left out: %v", r)
			}
			if got := read(t, dst+"/file"); got != "file" {
				t.Errorf("file: %q", got)
			}
			for _, name := range []string{"fifo", "socket", "null"} {
				if _, err := os.Lstat(dst + "/" + name); err == nil {
					t.Errorf("%s came", name)
				}
			}
			run(t, "sync", "-a", "--delete", from, to).ok()
			if _, err := os.Lstat(dst + "/keep"); err == nil {
				t.Error("--delete left a file")
			}
		})
	}
}

// socket leaves a socket at path.
func socket(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
}

// TestUnreadable has files and directories that the sender may not read: the
// rest comes, they are named, nothing is deleted for them.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			top := dir(t)
			src, dst := top+"/src", top+"/dst"
			fstest.Tree(t, src, fstest.Spec{
				"good": fstest.File("good"), "closed": fstest.File("secret").Mode(0), "dir": fstest.Dir().Mode(0), "open/x": fstest.File("x"),
			})
			write(t, dst+"/closed", "older")
			write(t, dst+"/dir/older", "older")
			write(t, dst+"/gone", "gone")
			c := unprivileged(t)
			if c.uid != 0 {
				own(t, top, c.uid)
			}
			from, to := src+"/", dst
			switch way {
			case "pull":
				from = c.serve(src).url
			case "push":
				to = c.serve(dst, "--writable").url
			}
			r := c.run("sync", "-a", "--delete", from, to)
			r.refuses(fault.Partial)
			for _, word := range []string{"closed: ", "dir: ", "nothing is deleted"} {
				if !strings.Contains(r.err, word) {
					t.Errorf("does not say %q: %v", word, r)
				}
			}
			for p, want := range map[string]string{"good": "good", "open/x": "x", "closed": "older", "dir/older": "older", "gone": "gone"} {
				if got := read(t, dst+"/"+p); got != want {
					t.Errorf("%s: %q, want %q", p, got, want)
				}
			}
		})
	}
}

// TestOwnersAsNobody has -a without the right to give files away.
func TestOwnersAsNobody(t *testing.T) {
	t.Parallel()
	needRoot(t)
	top := dir(t)
	src, dst := top+"/src", top+"/dst"
	for i := range 5 {
		write(t, fmt.Sprintf("%s/f%d", src, i), "x")
	}
	own(t, src, 1234)
	must(t, os.Mkdir(dst, 0o755))
	must(t, os.Chown(dst, nobody, nobody))
	s := serve(t, src)
	c := unprivileged(t)
	r := c.run("sync", "-a", s.url, dst).ok()
	if n := strings.Count(r.err, "owner"); n != 1 || strings.Count(r.err, "\n") != 1 {
		t.Errorf("want one line about owners: %v", r)
	}
	r = c.run("sync", "-a", s.url, dst).ok()
	if !strings.Contains(r.out, "nothing to do") {
		t.Errorf("the second run did something: %v", r)
	}
	same(t, src, dst)
}

// TestLiveSource has files that grow, shrink, vanish, change and turn into
// other things while they are read: what lands was there at some moment, and
// what never held still keeps its old version.
func TestLiveSource(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			src, dst := dir(t), filepath.Join(dir(t), "dst")
			const size = 2 << 20
			for i := range 40 {
				fill(t, fmt.Sprintf("%s/still/%02d", src, i), 'a'+byte(i%26), 50_000)
			}
			for _, name := range []string{"change", "shrink", "grow", "vanish", "swap"} {
				fill(t, src+"/"+name, 'A', size)
			}
			from, to := route(t, way, src, dst)
			ctx, cancel := context.WithCancel(context.Background())
			var (
				wg    sync.WaitGroup
				turns atomic.Int64
			)
			stop := func() { cancel(); wg.Wait() }
			defer stop()
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					b := byte('A' + n%26)
					fill(t, src+"/change", b, size)
					_ = os.Truncate(src+"/shrink", int64(size-n%size))
					if f, err := os.OpenFile(src+"/grow", os.O_APPEND|os.O_WRONLY, 0); err == nil {
						_, _ = f.Write([]byte("AAAAAAA"))
						f.Close()
					}
					if n%2 == 0 {
						_ = os.Remove(src + "/vanish")
					} else {
						fill(t, src+"/vanish", 'A', size)
					}
					_ = os.Remove(src + "/swap")
					if n%2 == 0 {
						_ = os.Symlink("/etc/passwd", src+"/swap")
					} else {
						fill(t, src+"/swap", 'A', size)
					}
					turns.Add(1)
				}
			})
			eventually(t, "the source is alive", func() bool { return turns.Load() > 2 })
			for range 3 {
				r := run(t, "sync", "-a", from, to)
				if r.code != 0 {
					r.refuses(fault.Partial)
				}
				for i := range 40 {
					uniform(t, fmt.Sprintf("%s/still/%02d", dst, i), 50_000)
				}
				for _, name := range []string{"change", "shrink", "grow", "vanish", "swap"} {
					if info, err := os.Lstat(dst + "/" + name); err != nil || !info.Mode().IsRegular() {
						continue
					}
					uniform(t, dst+"/"+name, -1)
				}
			}
			stop()
			_ = os.RemoveAll(src + "/swap")
			run(t, "sync", "-a", "--delete", from, to).ok()
			same(t, src, dst)
		})
	}
}

// fill writes a file of one letter in one step of the eye: beside, then renamed.
func fill(t *testing.T, path string, b byte, size int) {
	data := make([]byte, size)
	for i := range data {
		data[i] = b
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		t.Error(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Error(err)
	}
}

// uniform fails the test if a file mixes letters or has not the size.
func uniform(t *testing.T, path string, size int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if size >= 0 && len(b) != size {
		t.Errorf("%s: %d bytes, want %d", path, len(b), size)
	}
	for _, c := range b {
		if c != b[0] {
			t.Errorf("%s mixes %q and %q", path, b[0], c)
			return
		}
	}
}

// TestSwappedDirectories has someone who replaces directories by symlinks to
// another place, and back, while trees are read from and landed there.
func TestSwappedDirectories(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"source", "destination"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			top := dir(t)
			src, dst := top+"/src", top+"/dst"
			for i := range 20 {
				for j := range 10 {
					write(t, fmt.Sprintf("%s/d%02d/f%d", src, i, j), fmt.Sprintf("good %d %d", i, j))
				}
			}
			outside := top + "/outside"
			for j := range 10 {
				write(t, fmt.Sprintf("%s/f%d", outside, j), "secret")
			}
			before := fstest.Snapshot(t, outside)
			s := serve(t, src)
			run(t, "sync", "-a", s.url, dst).ok()

			victim := src
			if side == "destination" {
				victim = dst
			}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			stop := func() { cancel(); wg.Wait() }
			defer stop()
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					d := fmt.Sprintf("%s/d%02d", victim, n%20)
					if os.Rename(d, d+".aside") != nil {
						continue
					}
					_ = os.Symlink(outside, d)
					_ = unix.Access(d+"/f0", unix.F_OK)
					_ = os.Remove(d)
					_ = os.Rename(d+".aside", d)
				}
			})
			for n := range 8 {
				for i := range 20 {
					_ = os.WriteFile(fmt.Sprintf("%s/d%02d/f%d", src, i, n), []byte(fmt.Sprintf("better %d", n)), 0o644)
				}
				r := run(t, "sync", "-a", "--delete", s.url, dst)
				if r.code != 0 && r.code != int(fault.Partial) {
					t.Errorf("%v", r)
				}
			}
			stop()
			// The writer above may itself have been led outside; the program never.
			for p, what := range fstest.Snapshot(t, outside) {
				if side == "destination" && before[p] != what {
					t.Errorf("outside/%s is now %s, was %s", p, what, before[p])
				}
			}
			must(t, filepath.WalkDir(dst, func(p string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() && !strings.Contains(p, stateDir) && read(t, p) == "secret" {
					t.Errorf("%s came from outside", p)
				}
				return err
			}))
		})
	}
}
