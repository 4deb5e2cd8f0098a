package origin_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/job"
)

// daemon serves dir by rsync and returns its URL.
func daemon(t testing.TB, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("no rsync here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	conf := filepath.Join(t.TempDir(), "conf")
	text := fmt.Sprintf("use chroot = no\n[m]\npath = %s\nread only = yes\n", dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("rsync", "--daemon", "--no-detach", "--address=127.0.0.1", "--port="+strconv.Itoa(port), "--config="+conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return fmt.Sprintf("rsync://127.0.0.1:%d/m/", port)
}

var totals = regexp.MustCompile(`Total bytes (?:sent|received): ([\d,]+)`)

// rsyncBytes pulls and returns the bytes of both directions.
func rsyncBytes(t testing.TB, url, dst string) (n int64) {
	t.Helper()
	var out []byte
	var err error
	for range 200 { // until the daemon listens
		if out, err = exec.Command("rsync", "-azc", "--stats", url, dst+"/").CombinedOutput(); err == nil || !strings.Contains(string(out), "refused") {
			break
		}
	}
	if err != nil {
		t.Fatalf("rsync: %v\n%s", err, out)
	}
	for _, m := range totals.FindAllSubmatch(out, -1) {
		v, err := strconv.ParseInt(strings.ReplaceAll(string(m[1]), ",", ""), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n += v
	}
	return n
}

// BenchmarkBytes compares what crosses the link with rsync -azc. The lanes are
// in memory: TLS is not counted, as it is not with rsync.
func BenchmarkBytes(b *testing.B) {
	text := lines(1, 20<<20)
	jar := noise(60<<20, 1)
	tree := func(edit bool) map[string][]byte {
		m := map[string][]byte{}
		for i := range 2000 {
			x := lines(uint64(i), 3000+i*2)
			if edit {
				at := bytes.IndexByte(x[i:], '\n') + i + 1
				x = slices.Concat(x[:at], []byte("one changed line\n"), x[at+bytes.IndexByte(x[at:], '\n')+1:])
			}
			m[fmt.Sprintf("d%d/f%d.txt", i%20, i)] = x
		}
		return m
	}
	one := func(x []byte) map[string][]byte { return map[string][]byte{"f": x} }
	r := rand.New(rand.NewPCG(4, 4))
	edited := bytes.Clone(jar)
	for n := 0; n < len(jar)/100; n += 1000 {
		copy(edited[r.IntN(len(jar)-1000):], noise(1000, uint64(n)))
	}
	var tar, moved []byte
	var members [][]byte
	for i := range 300 {
		x := slices.Concat(make([]byte, 512), lines(uint64(i), 20_000+r.IntN(90_000)))
		members = append(members, x)
		tar = append(tar, x...)
	}
	for _, i := range r.Perm(len(members)) {
		moved = append(moved, members[i]...)
	}
	for _, c := range []struct {
		name     string
		old, now map[string][]byte
	}{
		{"jar 60 MB, 1 % edited", one(jar), one(edited)},
		{"text 20 MB, 1 KB in front", one(text), one(slices.Concat(lines(9, 1000), text))},
		{"2000 files, a line each", tree(false), tree(true)},
		{"log grew by 5 %", one(text[:19<<20]), one(text)},
		{"tar, members moved", one(tar), one(moved)},
		{"rewritten, random", one(jar[:20<<20]), one(noise(20<<20, 8))},
		{"rewritten, text", one(text), one(lines(8, 20<<20))},
		{"no change but times", tree(false), tree(false)},
		{"first sync, text", nil, one(text)},
		{"first sync, tree", nil, tree(false)},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				s := newSiteAt(b, b.TempDir())
				url, other := daemon(b, s.src), b.TempDir()
				for name, x := range c.old {
					s.put(name, x)
				}
				if len(c.old) > 0 {
					s.sync(nil)
					rsyncBytes(b, url, other)
				}
				for name, x := range c.now {
					s.put(name, x)
				}
				b.StartTimer()
				sum := s.sync(func(o *job.Options) { o.NoWhole = true })
				b.StopTimer()
				ours, theirs := sum.WireIn+sum.WireOut, rsyncBytes(b, url, other)
				s.same()
				b.ReportMetric(float64(ours), "bytes")
				b.ReportMetric(float64(theirs), "rsync-bytes")
				b.ReportMetric(float64(ours)/float64(theirs), "ratio")
				if float64(ours) > 1.05*float64(theirs)+8000 {
					b.Errorf("%d bytes, rsync takes %d", ours, theirs)
				}
			}
		})
	}
}
