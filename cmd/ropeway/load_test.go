//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/wire"
)

// TestLoad pulls by many clients at once from a real server, and reports what
// that takes there. LOAD_PULLS sets their number, LOAD_SLOW how many of them
// read 1 kB/s, LOAD_MB the size of the file that each pulls beside a small
// tree, LOAD_SECONDS how long the slow ones keep on, LOAD_LANES the
// connections of a client, LOAD_FLIGHT the requests under way on each.
//
//	LOAD_PULLS=1000 LOAD_SLOW=300 go test -run TestLoad -v ./cmd/ropeway
func TestLoad(t *testing.T) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	l := &load{
		t: t, pulls: number("LOAD_PULLS", 0), slow: number("LOAD_SLOW", 0), lanes: number("LOAD_LANES", 1), flight: number("LOAD_FLIGHT", 4),
		period: time.Duration(number("LOAD_SECONDS", 30)) * time.Second,
	}
	if l.pulls == 0 {
		t.Skip("LOAD_PULLS is not set")
	}
	src := dir(t)
	tree := fstest.Spec{"big": fstest.Random(int64(number("LOAD_MB", 10))<<20, 1)}
	for i := range 300 {
		tree[fmt.Sprintf("d%d/f%03d", i%7, i)] = fstest.File(strings.Repeat(fmt.Sprintln("line", i), 300))
	}
	fstest.Tree(t, src, tree)
	s := serve(t, src)
	u, err := auth.ParseURL(s.url)
	must(t, err)
	l.url = u
	idle := memory(t, s.cmd.Process.Pid, "VmRSS")
	began := time.Now()
	var metrics string
	l.run(func() { metrics = scrape(t, s) })
	peak := memory(t, s.cmd.Process.Pid, "VmHWM")
	t.Logf("%d pulls, %d of them slow, %d lanes of %d requests: %.1f s, %d done, %d MB/s, %d bytes to slow ones, %d cut, %d refused",
		l.pulls, l.slow, l.lanes, l.flight, l.fast.Seconds(), l.done.Load(), l.bytes.Load()/1e6/int64(max(1, l.fast.Seconds())), l.slowBytes.Load(), l.cut.Load(), l.refused.Load())
	t.Logf("server: %d MiB idle, %d MiB at most, %d KiB a pull", idle>>20, peak>>20, (peak-idle)/int64(l.pulls)>>10)
	for _, line := range strings.Split(metrics, "\n") {
		for _, name := range []string{"ropeway_scans", "ropeway_plans", "ropeway_pull", "ropeway_lane", "ropeway_clients_cut", "go_goroutines ", "go_memstats_heap_inuse_bytes ", "go_memstats_stack_inuse_bytes ", "go_memstats_heap_alloc_bytes ", "process_open_fds", "process_cpu_seconds_total"} {
			if strings.HasPrefix(line, name) {
				t.Log(line)
			}
		}
	}
	t.Logf("all in %v", time.Since(began))
	if errs := l.errs(); len(errs) > 0 {
		t.Errorf("%d errors, such as %v", len(errs), errs[0])
	}
}

// memory returns a figure of /proc/PID/status in bytes.
func memory(t *testing.T, pid int, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name+":" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			must(t, err)
			return n << 10
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

func scrape(t *testing.T, s *server) string {
	t.Helper()
	u, err := auth.ParseURL(s.url)
	must(t, err)
	c := http.Client{Transport: &http.Transport{TLSClientConfig: trust(u)}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + u.Addr() + "/metrics")
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(b)
}

func trust(u auth.URL) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, VerifyConnection: auth.VerifyPinned(u.Pin)} //nolint:gosec // pinned
}

// load is many clients at once.
type load struct {
	t                          *testing.T
	url                        auth.URL
	pulls, slow, lanes, flight int
	period                     time.Duration
	fast                       time.Duration // until the last fast one was done

	bytes, slowBytes, done, cut, refused atomic.Int64

	mu     sync.Mutex // guards failed
	failed []error
}

func (l *load) errs() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed)
}

// run calls last while those that are slow still read.
func (l *load) run(last func()) {
	began := time.Now()
	slowly, stop := context.WithCancel(context.Background())
	defer stop()
	var fast, slow sync.WaitGroup
	for i := range l.pulls {
		if i < l.slow {
			slow.Go(func() {
				if err := l.pull(slowly, i, true); err != nil && slowly.Err() == nil {
					l.cut.Add(1)
				}
			})
			continue
		}
		fast.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
			defer cancel()
			if err := l.pull(ctx, i, false); err != nil {
				l.mu.Lock()
				l.failed = append(l.failed, err)
				l.mu.Unlock()
			}
			l.done.Add(1)
		})
	}
	fast.Wait()
	l.fast = time.Since(began)
	if l.slow > 0 {
		end := time.NewTimer(time.Until(began.Add(l.period)))
		defer end.Stop()
		<-end.C
	}
	last()
	stop()
	slow.Wait()
}

// pull asks for a plan and gets what it names, as job does but without looking
// at it: the server is to be loaded, not this process.
func (l *load) pull(ctx context.Context, i int, slow bool) error {
	var lanes []*http.Transport
	defer func() {
		for _, t := range lanes {
			t.CloseIdleConnections()
		}
	}()
	for n := range l.lanes {
		lanes = append(lanes, l.lane(i, n, slow))
	}
	wants, err := l.plan(ctx, lanes[0], slow)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	queue := make(chan want, len(wants))
	for _, w := range wants {
		queue <- w
	}
	close(queue)
	var wg sync.WaitGroup
	errs := make(chan error, l.lanes*l.flight)
	for n := range l.lanes * l.flight {
		wg.Go(func() {
			for w := range queue {
				if err := l.get(ctx, lanes[n%l.lanes], w, slow); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// lane dials from one of many addresses, as many hosts would.
func (l *load) lane(i, n int, slow bool) *http.Transport {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/250), byte(1+i%250))}}
	return &http.Transport{
		Protocols: http2Only(), DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, err := d.DialContext(ctx, "tcp", l.url.Addr())
			if err != nil {
				return nil, err
			}
			lazy := &dripping{Conn: nc}
			if slow {
				_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
			}
			cfg := trust(l.url)
			cfg.NextProtos = []string{"h2"}
			tc := tls.Client(lazy, cfg)
			if err := tc.HandshakeContext(ctx); err != nil {
				nc.Close()
				return nil, err
			}
			if slow {
				lazy.slow.Store(true)
			}
			return tc, nil
		},
	}
}

func http2Only() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// dripping reads 1 kB/s once it is slow.
type dripping struct {
	net.Conn
	slow atomic.Bool
}

func (d *dripping) Read(p []byte) (int, error) {
	if !d.slow.Load() {
		return d.Conn.Read(p)
	}
	tick := time.NewTimer(250 * time.Millisecond)
	defer tick.Stop()
	<-tick.C
	return d.Conn.Read(p[:min(len(p), 250)])
}

// want is a part of an object.
type want struct {
	path     string
	from, to int64
}

func (l *load) request(ctx context.Context, method, path string, body io.Reader) *http.Request {
	req, _ := http.NewRequestWithContext(ctx, method, "http://"+l.url.Addr()+"/v1/m/m/"+path, body)
	req.Header.Set("Authorization", "Bearer "+l.url.Token)
	req.Header.Set(wire.ProtocolHeader, "0")
	return req
}

// again makes a request until the server has time for it.
func (l *load) again(ctx context.Context, t *http.Transport, make func() *http.Request) (*http.Response, error) {
	for {
		resp, err := t.RoundTrip(make())
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusTooManyRequests {
			return resp, err
		}
		resp.Body.Close()
		l.refused.Add(1)
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		tick := time.NewTimer(time.Duration(max(after, 1)) * time.Second)
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return nil, ctx.Err()
		}
	}
}

func (l *load) plan(ctx context.Context, t *http.Transport, slow bool) ([]want, error) {
	var ask bytes.Buffer
	req := wire.PlanRequest{Job: strconv.FormatInt(time.Now().UnixNano(), 36) + "x", Mask: 31, Recursive: true}
	_ = wire.WriteFrame(&ask, wire.KindRequest, req.Marshal())
	_ = wire.WriteFrame(&ask, wire.KindBase, (&wire.Base{}).Marshal())
	resp, err := l.again(ctx, t, func() *http.Request { return l.request(ctx, "POST", "plan", bytes.NewReader(ask.Bytes())) })
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body := bufio.NewReaderSize(resp.Body, 4<<10)
	reader := plan.NewReader()
	defer reader.Close()
	var wants []want
	add := func(path string, size int64) {
		for at := int64(0); at < size; at += 256 << 10 {
			wants = append(wants, want{path, at, min(at+256<<10, size)})
		}
	}
	for {
		kind, payload, err := wire.ReadFrame(body)
		if err != nil {
			return nil, err
		}
		switch kind {
		case wire.KindSegment:
			var s wire.Segment
			if err := s.Unmarshal(payload); err != nil {
				return nil, err
			}
			if slow {
				l.slowBytes.Add(int64(len(payload)))
			}
			if err := reader.Segment(s.Body, func(it *plan.Item) error {
				switch {
				case it.Spans != nil:
					for _, o := range it.Spans.Objects {
						ref := wire.SpanRef{Path: it.Spans.Path, Offset: o.Offset, Tag: it.Spans.Tag}
						add("o/"+o.ID.String()+"?"+ref.Query(), min(digest.SpanSize, it.Spans.Size-o.Offset))
					}
				case it.Pack != nil && len(it.Pack.Data) == 0:
					add("o/"+it.Pack.Object.ID.String(), it.Pack.Object.Size)
				}
				return nil
			}); err != nil {
				return nil, err
			}
		case wire.KindEnd:
			return wants, nil
		case wire.KindWork:
		default:
			return nil, fmt.Errorf("frame %q", kind)
		}
	}
}

func (l *load) get(ctx context.Context, t *http.Transport, w want, slow bool) error {
	resp, err := l.again(ctx, t, func() *http.Request {
		req := l.request(ctx, "GET", w.path, nil)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", w.from, w.to-1))
		req.Header.Set("Accept-Encoding", "zstd")
		return req
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		if slow {
			l.slowBytes.Add(int64(n))
		} else {
			l.bytes.Add(int64(n))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
