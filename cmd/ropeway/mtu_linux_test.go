package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fstest"
)

// hosts makes two network namespaces with a link of full segments between
// them, and returns what runs a command in each. The first has 10.9.0.1.
func hosts(t *testing.T) (a, b []string) {
	t.Helper()
	needRoot(t)
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs ", tool)
		}
	}
	n := [2]string{fmt.Sprintf("rw%da", os.Getpid()), fmt.Sprintf("rw%db", os.Getpid())}
	t.Cleanup(func() {
		for _, name := range n {
			_ = exec.Command("ip", "netns", "del", name).Run()
		}
	})
	for i, name := range n {
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Skipf("no namespaces: %s", out)
		}
		if i == 0 {
			continue
		}
		shell(t, fmt.Sprintf(`ip -n %[1]s link add v0 type veth peer name v0 netns %[2]s`, n[0], n[1]))
	}
	for i, name := range n {
		// One segment a packet, so that a filter sees what a wire would.
		shell(t, fmt.Sprintf(`ip -n %[1]s addr add 10.9.0.%[2]d/24 dev v0 && ip -n %[1]s link set v0 gso_max_segs 1 gro_max_size 1500 up && ip -n %[1]s link set lo up`, name, i+1))
	}
	in := func(name string) []string { return []string{"ip", "netns", "exec", name} }
	return in(n[0]), in(n[1])
}

func shell(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// TestMTUHole has a way on which packets above 1300 bytes disappear without a
// word, from the start or from the middle of a transfer on, in either direction.
func TestMTUHole(t *testing.T) {
	a, b := hosts(t) // not parallel: it would compete for the processor with what waits
	src := dir(t)
	fstest.Tree(t, src, release(1))
	ready := filepath.Join(dir(t), "ready")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	server := exec.CommandContext(ctx, a[0], append(a[1:], program, "serve", "--name=m", "--ephemeral", "--listen=10.9.0.1:8873", "--ready-file="+ready, src)...)
	must(t, server.Start())
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	eventually(t, "the server is up", func() bool { _, err := os.Stat(ready); return err == nil })
	url := strings.TrimSpace(read(t, ready))
	hole := func(size int) string {
		return strings.Join(a, " ") + fmt.Sprintf(` nft 'table ip hole { chain in { type filter hook input priority 0; meta length > %[1]d drop; }; chain out { type filter hook output priority 0; meta length > %[1]d drop; }; }'`, size)
	}
	fill := strings.Join(a, " ") + ` nft delete table ip hole`
	for name, c := range map[string]struct {
		size int
		late bool
	}{"from the start": {1300, false}, "data only": {1480, false}, "in the middle": {1300, true}} {
		t.Run(name, func(t *testing.T) {
			dst := filepath.Join(dir(t), "dst")
			args := []string{"sync", "-a", "--contimeout=30", "--timeout=30", url, dst}
			if c.late {
				args = append(args, "--bwlimit=1M")
			} else {
				shell(t, hole(c.size))
				defer shell(t, fill)
			}
			cmd := exec.CommandContext(ctx, b[0], append(b[1:], append([]string{program}, args...)...)...)
			cmd.Env = []string{"HOME=" + dir(t), "PATH=" + os.Getenv("PATH")}
			var out buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			began := time.Now()
			must(t, cmd.Start())
			if c.late {
				eventually(t, "something has come", func() bool { return staged(dst) > 500_000 })
				began = time.Now()
				shell(t, hole(c.size))
				defer shell(t, fill)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v after %v: %s", err, time.Since(began), out.String())
			}
			same(t, src, dst)
			if c.late && !strings.Contains(out.String(), "1200") { // a short job can be over before it is sure
				t.Errorf("does not say what it found: %s", out.String())
			}
			t.Logf("%v: %s", time.Since(began), out.String())
		})
	}
}
