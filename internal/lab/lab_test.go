//go:build linux

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/netns"
	"github.com/ropeway/ropeway/internal/link"
)

func TestMain(m *testing.M) {
	if os.Getenv("LAB_TEST_HOLD") != "" {
		hold()
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// hold opens a lab, starts a process in it that has left its group, says so,
// and waits to be killed.
func hold() {
	l, err := Open(context.Background(), Config{})
	if err != nil {
		fmt.Println("skip", err)
		os.Exit(0)
	}
	cmd := l.Host(1).Command(context.Background(), "setsid", "-f", "sleep", "987")
	if err := errors.Join(l.Host(1).Start(cmd), cmd.Wait()); err != nil {
		fmt.Println("skip", err)
		_ = l.Close()
		os.Exit(0)
	}
	fmt.Println("names", l.Host(0).Namespace(), l.Host(1).Namespace())
	select {}
}

// journal is a log that a test can read, and shows.
type journal struct {
	t    testing.TB
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.t.Log(strings.TrimSpace(string(b)))
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) has(s string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.text.String(), s)
}

// open makes a lab that ends with the test, or skips it and says why.
func open(t testing.TB, c Config) *Lab {
	t.Helper()
	if c.Log == nil {
		c.Log = &journal{t: t}
	}
	l, err := Open(context.Background(), c)
	switch fault.ClassOf(err) {
	case fault.OK:
	case fault.Denied, fault.Incompatible:
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// both is a profile that is the same in both directions.
func both(p link.Params) link.Profile { return link.Profile{Name: "test", AB: p, BA: p} }

// echo answers on TCP and UDP with what it gets, until the test ends.
func echo(t testing.TB, h *Host, network string) (port int) {
	t.Helper()
	if strings.HasPrefix(network, "udp") {
		p, err := h.ListenPacket(network, ":0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		t.Cleanup(func() { p.Close(); <-done })
		go func() {
			defer close(done)
			b := make([]byte, 2000)
			for {
				n, from, err := p.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = p.WriteTo(b[:n], from)
			}
		}()
		return p.LocalAddr().(*net.UDPAddr).Port
	}
	return serve(t, h, network, func(c net.Conn) { _, _ = io.Copy(c, c) })
}

// serve accepts connections on a host until the test ends.
func serve(t testing.TB, h *Host, network string, handle func(net.Conn)) (port int) {
	t.Helper()
	l, err := h.Listen(network, ":0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			all.Go(func() { defer c.Close(); handle(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

// dial connects, with a deadline on all that follows.
func dial(t testing.TB, h *Host, network, addr string, port int, patience time.Duration) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := h.Dial(ctx, network, net.JoinHostPort(addr, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// ask sends a word and wants it back.
func ask(c net.Conn, word string) error {
	if _, err := c.Write([]byte(word)); err != nil {
		return err
	}
	b := make([]byte, len(word))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != word {
		return fmt.Errorf("sent %q, got back %q", word, b)
	}
	return nil
}

// TestEveryPair wants each of three hosts to reach each other, by IPv4 and IPv6,
// and two labs at one time not to meet.
func TestEveryPair(t *testing.T) {
	for range 2 {
		l := open(t, Config{Hosts: 3, Profile: both(link.Params{Delay: time.Millisecond})})
		v6 := true
		if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
			v6 = false
		}
		for _, server := range l.Hosts() {
			port := echo(t, server, "tcp")
			for _, client := range l.Hosts() {
				if err := ask(dial(t, client, "tcp", server.Addr().String(), port, 10*time.Second), "hello"); err != nil {
					t.Errorf("%s to %s: %v", client.Name(), server.Name(), err)
				}
				if v6 && client != server {
					if err := ask(dial(t, client, "tcp", server.Addr6().String(), port, 10*time.Second), "hello"); err != nil {
						t.Errorf("%s to %s: %v", client.Name(), server.Name(), err)
					}
				}
			}
		}
		c := l.Counters()
		if c.AB.Delivered == 0 || c.BA.Delivered == 0 || c.Flows == 0 {
			t.Errorf("counters %+v", c)
		}
	}
}

// TestEvents wants a blackout to lose, a change to change, and a forgotten
// connection to be dead while a new one works.
func TestEvents(t *testing.T) {
	l := open(t, Config{Profile: both(link.Params{Delay: time.Millisecond})})
	port := echo(t, l.Host(0), "tcp")
	addr := l.Host(0).Addr().String()
	old := dial(t, l.Host(1), "tcp", addr, port, 20*time.Second)
	if err := ask(old, "before"); err != nil {
		t.Fatal(err)
	}
	l.Apply(link.Event{Do: link.Forget})
	_ = old.SetDeadline(time.Now().Add(700 * time.Millisecond))
	if err := ask(old, "after"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a forgotten connection: %v", err)
	}
	fresh := dial(t, l.Host(1), "tcp", addr, port, 20*time.Second)
	if err := ask(fresh, "anew"); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	start := time.Now()
	l.Schedule(link.Event{Do: link.Blackout, For: time.Second})
	if err := ask(fresh, "through"); err != nil {
		t.Errorf("after a blackout: %v", err)
	}
	if took := time.Since(start); took < 900*time.Millisecond {
		t.Errorf("got through a blackout of 1 s in %s", took)
	}
	l.Apply(link.Event{Do: link.Reset})
	if err := ask(fresh, "reset"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
		t.Errorf("a reset connection: %v", err)
	}
	c := l.Counters()
	if c.Events != 3 || c.FlowsCut < 2 || c.RSTs < 2 || c.AB.LostDead+c.BA.LostDead == 0 || c.AB.LostBlackout+c.BA.LostBlackout == 0 {
		t.Errorf("counters %+v", c)
	}
	l.SetProfile(link.Profile{Name: "other", AB: link.Params{UDPBlock: true}})
	if l.Profile() != "other" {
		t.Errorf("profile %s", l.Profile())
	}
}

func TestCommands(t *testing.T) {
	l := open(t, Config{})
	var mu sync.Mutex
	got := map[string][]string{}
	out, err := l.Run(context.Background(), Jobs{
		Timeout:  time.Minute,
		Commands: map[string]string{"a": "echo ready; trap 'echo bye; exit 4' TERM; while :; do sleep 0.05; done 2>/dev/null", "b": `echo $ROPEWAY_LAB_HOST $ROPEWAY_LAB_PEER $B; echo bad >&2; printf 'x\r\nhalf'; exit 3`},
		Line: func(host, stream string, line []byte) {
			mu.Lock()
			defer mu.Unlock()
			got[host+stream] = append(got[host+stream], string(line))
		},
	})
	if err != nil || out.Exit != 3 || out.Exits["a"] != 4 || out.Exits["b"] != 3 {
		t.Errorf("%+v, %v", out, err)
	}
	want := "map[astdout:[ready bye] bstderr:[bad] bstdout:[b 10.73.0.1 10.73.0.2 x half]]"
	if s := fmt.Sprint(got); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
}

// TestNeverEnding wants a command that never ends, and has hidden from its
// parent, to be gone after the timeout.
func TestNeverEnding(t *testing.T) {
	l := open(t, Config{})
	pids := filepath.Join(t.TempDir(), "pids")
	_, err := l.Run(context.Background(), Jobs{
		Timeout:  500 * time.Millisecond,
		Commands: map[string]string{"b": "setsid sh -c 'trap \"\" TERM INT HUP; echo $$ >" + pids + "; while :; do sleep 1; done' & sleep 1000"},
	})
	if fault.ClassOf(err) != fault.Limit {
		t.Errorf("error %v", err)
	}
	text, _ := os.ReadFile(pids)
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil {
		t.Errorf("process %d still runs", pid)
	}
	// The context ends the lab itself.
	ctx, cancel := context.WithCancel(context.Background())
	other, err := Open(ctx, Config{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-other.Done()
	if err := other.Host(0).Start(exec.Command("true")); err == nil {
		t.Error("a command started in a lab that is closed")
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// TestKilled kills a lab, with which its programs must go at the latest when the
// next one starts.
func TestKilled(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LAB_TEST_HOLD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	names := strings.Fields(line)
	if len(names) != 3 || names[0] != "names" {
		t.Skip(line)
	}
	found, err := netns.Clean(true)
	if err != nil {
		t.Fatal(err)
	}
	in := 0
	for _, l := range found {
		if l.Owner == cmd.Process.Pid {
			in += len(l.Processes)
		}
	}
	if in != 1 {
		t.Errorf("%d processes were left behind, want the one", in)
	}
	log := &journal{t: t}
	open(t, Config{Log: log})
	for _, name := range names[1:] {
		if _, err := os.Lstat(filepath.Join(netns.Dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
		if !log.has(name) {
			t.Errorf("the log says nothing of %s", name)
		}
	}
	if ps, _ := exec.Command("pgrep", "-f", "^sleep 987$").Output(); len(ps) > 0 {
		t.Errorf("processes %s are left", ps)
	}
}

func TestControl(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	ctx := context.Background()
	if _, err := Send(ctx, dir, 0, Change{}); fault.ClassOf(err) != fault.NotFound {
		t.Errorf("with no lab: %v", err)
	}
	one, two := open(t, Config{Profile: link.Profile{Name: "one"}}), open(t, Config{})
	for want, l := range []*Lab{one, two} {
		if n, err := l.Control(dir); n != want+1 || err != nil {
			t.Fatalf("number %d, %v", n, err)
		}
	}
	if _, err := Send(ctx, dir, 0, Change{}); fault.ClassOf(err) != fault.Usage {
		t.Errorf("with two labs: %v", err)
	}
	if _, err := Send(ctx, dir, 7, Change{}); fault.ClassOf(err) != fault.NotFound {
		t.Errorf("of a lab that is not: %v", err)
	}
	s, err := Send(ctx, dir, 1, Change{})
	if err != nil || s.Profile != "one" || s.Lab != 1 || s.Process != os.Getpid() {
		t.Errorf("%+v, %v", s, err)
	}
	awful, err := link.Find("awful")
	if err != nil {
		t.Fatal(err)
	}
	s, err = Send(ctx, dir, 1, Change{Profile: &awful, Events: []link.Event{{Do: link.Forget}, {Do: link.Blackout, For: time.Second}}})
	if err != nil || s.Profile != "awful" || s.Counters.Events != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	c, err := net.Dial("unix", SocketName(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte(`{"events": ["explode@5s"]}` + "\n"))
	if answer, _ := io.ReadAll(c); !strings.Contains(string(answer), "no action") {
		t.Errorf("to nonsense: %s", answer)
	}
	// A socket of the dead, and a directory of somebody else.
	dead, err := net.Listen("unix", SocketName(dir, 3))
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	if alive, gone, err := Running(dir); fmt.Sprint(alive, gone, err) != "[1 2] [3] <nil>" {
		t.Errorf("running %v, dead %v, %v", alive, gone, err)
	}
	if err := errors.Join(Forget(dir, 1), Forget(dir, 3)); err != nil {
		t.Error(err)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if alive, gone, err := Running(dir); fmt.Sprint(alive, gone, err) != "[2] [] <nil>" {
		t.Errorf("running %v, dead %v, %v", alive, gone, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Control(dir); fault.ClassOf(err) != fault.Denied {
		t.Errorf("in a directory that others can read: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []Config{{Hosts: 1}, {Hosts: 27}, {CC: "../x"}, {Pcap: map[string]string{"c": "x"}}, {Pcap: map[string]string{"a": "/no/such/dir/x"}}} {
		l, err := Open(context.Background(), c)
		if err == nil {
			_ = l.Close()
		}
		if class := fault.ClassOf(err); class == fault.Denied || class == fault.Incompatible {
			t.Skip(err)
		} else if class != fault.Usage {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
