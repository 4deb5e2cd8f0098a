//go:build linux

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// space makes a namespace, or skips the test and says why.
func space(t *testing.T, name string) *NS {
	t.Helper()
	n, err := New(name)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestNamespaceIsAnother(t *testing.T) {
	n := space(t, "")
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(func() error) error{"Do": n.Do, "Run": n.Run} {
		err := do(func() error {
			theirs, err := os.Readlink("/proc/thread-self/ns/net")
			if theirs == ours || theirs != n.ino {
				t.Errorf("%s: in %s, want %s", name, theirs, n.ino)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := do(func() error { return net.ErrClosed }); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if now, _ := os.Readlink("/proc/self/ns/net"); now != ours {
		t.Errorf("this process is in %s, was in %s", now, ours)
	}
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	var out strings.Builder
	cmd.Stdout = &out
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || strings.TrimSpace(out.String()) != n.ino {
		t.Errorf("a command is in %s, want %s: %v", out.String(), n.ino, err)
	}
}

func TestLoopbackIsUp(t *testing.T) {
	n := space(t, "")
	err := n.Run(func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTUN(t *testing.T) {
	n := space(t, "")
	tun, err := n.TUN("lab0", 1400, 3, netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fd01::3/64"))
	if err != nil {
		t.Skip(err)
	}
	defer tun.Close()
	if err := n.Route("lab0", netip.MustParsePrefix("0.0.0.0/0"), "reno"); err != nil {
		t.Error(err)
	}
	err = n.Do(func() error {
		i, err := net.InterfaceByName("lab0")
		if err != nil {
			return err
		}
		addrs, err := i.Addrs()
		if i.MTU != 1400 || i.Flags&net.FlagUp == 0 {
			t.Errorf("interface %+v", i)
		}
		if s := fmt.Sprint(addrs); s != "[10.1.2.3/24 fd01::3/64]" && s != "[10.1.2.3/24]" {
			t.Errorf("addresses %s", s)
		}
		c, err2 := net.Dial("udp", "192.0.2.1:9")
		if err2 != nil {
			return err2
		}
		defer c.Close()
		for range 10 {
			_, _ = c.Write(make([]byte, 100)) // seven are too many for the queue
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	got := 0
	for {
		size, err := unix.Read(tun.FD, b)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if size != 128 || b[0] != 0x45 {
			t.Errorf("packet of %d bytes, % x", size, b[:size])
		}
		got++
	}
	dropped, err := tun.Dropped()
	if err != nil || int64(got)+dropped != 10 || dropped == 0 {
		t.Errorf("got %d, dropped %d (%v), sent 10", got, dropped, err)
	}
}

func TestSysctl(t *testing.T) {
	n := space(t, "")
	if err := n.Sysctl("net.ipv4.tcp_no_metrics_save", "1"); err != nil {
		t.Error(err)
	}
	if err := n.Sysctl("net.ipv4.no_such_thing", "1"); err == nil {
		t.Error("set what is not there")
	}
}

// TestCongestionControl wants each that the kernel has to be the default on
// demand, and the host to be as before.
func TestCongestionControl(t *testing.T) {
	before, err := readSysctl(ccAllowed)
	if err != nil {
		t.Skip(err)
	}
	available, _ := readSysctl(ccAvailable)
	for _, cc := range strings.Fields(available) {
		n := space(t, "")
		byRoute, err := n.CongestionControl(cc)
		if err != nil {
			t.Errorf("%s: %v", cc, err)
		}
		_ = n.Do(func() error {
			if now, err := readSysctl(ccDefault); !byRoute && now != cc {
				t.Errorf("%s: the default is %s, %v", cc, now, err)
			}
			return nil
		})
	}
	if after, _ := readSysctl(ccAllowed); after != before {
		t.Errorf("the host allows %s, before %s", after, before)
	}
	if _, err := space(t, "").CongestionControl("nosuch"); err == nil || !strings.Contains(err.Error(), "it has ") {
		t.Errorf("of one that is not there: %v", err)
	}
}

// TestCloseKills wants even a process that left its group and its session to
// be gone after Close.
func TestCloseKills(t *testing.T) {
	n, err := New("")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("setsid", "-f", "sleep", "1000")
	if err := n.Start(cmd); err != nil {
		t.Skip(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if left := inside(n.ino); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if err := n.Do(func() error { return nil }); err == nil {
		t.Error("a closed namespace does things")
	}
}

func TestNames(t *testing.T) {
	if !isRoot() {
		t.Skip("names need root")
	}
	one, err := Names([]string{"a", "b"})
	if err != nil || len(one) != 2 || one[0] == "" {
		t.Fatalf("%q, %v", one, err)
	}
	two, err := Names([]string{"a", "b"})
	if err != nil || slices.Equal(one, two) {
		t.Fatalf("%q, %q, %v", one, two, err)
	}
	for _, name := range two {
		if err := unname(name); err != nil {
			t.Error(err)
		}
	}
	n := space(t, one[0])
	if ino := inoOf(filepath.Join(Dir, one[0])); ino != n.ino {
		t.Errorf("the name is of %s, want %s", ino, n.ino)
	}
	if err := unname(one[1]); err != nil {
		t.Error(err)
	}
	if found, err := Clean(true); err != nil || slices.ContainsFunc(found, func(l Leftover) bool { return l.Owner == os.Getpid() }) {
		t.Errorf("found %v, %v: what is ours and alive", found, err)
	}
}

// TestClean leaves a namespace of a process that is dead, with a command in it,
// and others' beside it.
func TestClean(t *testing.T) {
	if !isRoot() {
		t.Skip("names need root")
	}
	n, err := New("")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("setsid", "-f", "sleep", "1000")
	if err := n.Start(cmd); err != nil {
		t.Skip(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Skip(err)
	}
	pid := dead.Process.Pid
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf(nameForm, me.space, pid, 12345, 0, "a")
	other := fmt.Sprintf("ropeway-x-%d", os.Getpid())              // not quite a name of ours
	guest := fmt.Sprintf(nameForm, me.space+1, pid, 12345, 0, "a") // whose process we cannot see
	for _, f := range []string{name, other, guest} {
		if err := os.MkdirAll(Dir, 0o755); err != nil {
			t.Skip(err)
		}
		if err := os.WriteFile(filepath.Join(Dir, f), nil, 0o444); err != nil {
			t.Skip(err)
		}
	}
	defer os.Remove(filepath.Join(Dir, other))
	defer os.Remove(filepath.Join(Dir, guest))
	if err := unix.Mount(n.file.Name(), filepath.Join(Dir, name), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	mine := func(l Leftover) bool { return l.Name == name && l.Owner == pid && len(l.Processes) == 1 }
	if found, err := Clean(true); err != nil || !slices.ContainsFunc(found, mine) {
		t.Fatalf("found %v, %v", found, err)
	}
	if len(inside(n.ino)) != 1 {
		t.Error("a dry run killed")
	}
	if _, err := Clean(false); err != nil {
		t.Error(err)
	}
	if left := inside(n.ino); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if _, err := os.Lstat(filepath.Join(Dir, name)); err == nil {
		t.Error("the name is still there")
	}
	for _, f := range []string{other, guest} {
		if _, err := os.Lstat(filepath.Join(Dir, f)); err != nil {
			t.Errorf("the name of another is gone: %v", err)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestOwners(t *testing.T) {
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	later := me
	later.start++
	if !me.alive() || later.alive() {
		t.Error("who lives is told by number and start")
	}
	for _, name := range []string{"", "ropeway", "ropeway-1-2-3-a", "ropeway-1-0-2-3-a", "ropeway-1-1-2-3-a/..", "ropeway-1-1-2-3-A", "xropeway-1-1-2-3-a",
		"ropeway-1-1-99999999999999999999-3-a", "ropeway-1-1-2-3-a\n"} {
		if o, ok := parseName(name); ok {
			t.Errorf("%q: %v", name, o)
		}
	}
	if o, ok := parseName(fmt.Sprintf(nameForm, 6, 7, 8, 9, "b")); !ok || o != (owner{6, 7, 8}) {
		t.Errorf("%v %v", o, ok)
	}
}

func FuzzStat(f *testing.F) {
	f.Add("1 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20")
	f.Fuzz(func(t *testing.T, s string) { _, _ = parseStart(s) })
}

// FuzzAnswer gives the netlink reader whatever the kernel would never say.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = new(rtnl).answer(b) })
}

func TestRefusals(t *testing.T) {
	for _, err := range []error{
		refused(unix.EPERM), refused(unix.ENOSPC), refused(unix.ENOSYS), refused(unix.EIO),
		tunRefused(unix.ENOENT), tunRefused(unix.ENODEV), tunRefused(unix.EACCES), tunRefused(unix.EIO),
		noSandbox(&os.PathError{Op: "fork/exec", Path: "x", Err: syscall.EPERM}), noSandbox(unix.ENOSPC), noSandbox(unix.EIO),
	} {
		if s := err.Error(); s == "" || strings.Contains(s, "\n") {
			t.Errorf("%q", s)
		}
	}
}
