package lane

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReportRoundTrip(t *testing.T) {
	r := Report{"bbr", 40123 * time.Microsecond, 40001 * time.Microsecond, 1 << 40, 12, 1e6, time.Second, time.Millisecond, 2 * time.Millisecond, 3}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"cc":"bbr","rtt":40123,"min":40001,"sent":1099511627776,"resent":12,"rate":1000000,"busy":1000,"rwnd":1,"sndbuf":2,"rto":3}`
	if string(b) != want {
		t.Errorf("%s", b)
	}
	if spec, err := os.ReadFile("../../docs/protocol.md"); err != nil || !strings.Contains(string(spec), want) {
		t.Error("docs/protocol.md has another one:", err)
	}
	if got, err := ParseReport(b); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "[]", `{"sent":-1}`, `{"rtt":1e30}`, `{"busy":9007199254740993000}`, strings.Repeat(" ", maxReport) + "{}"} {
		if _, err := ParseReport([]byte(bad)); err == nil {
			t.Errorf("taken: %.40q", bad)
		}
	}
	if got, err := ParseReport([]byte(`{"cc":"a b\u001b","new":1}`)); err != nil || got.Control != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"cc":"bbr","rtt":40123,"sent":1,"busy":1000}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseReport(again); err != nil || got != r {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestLedgerCosts: reports are rare on a slow connection, and there are none on
// an idle one.
func TestLedgerCosts(t *testing.T) {
	const size = 120
	for name, c := range map[string]struct {
		rate        int64 // bytes per second
		least, most int
	}{
		"fast": {1 << 20, 59, 61}, "slow": {10_000, 6, 11}, "idle": {0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				reports := 0
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				writeLedger(ctx, nil, func() (Report, bool) {
					return Report{Sent: int64(time.Since(start).Seconds()*float64(c.rate)) + int64(reports*size)}, true
				}, func(Report) (int, error) {
					reports++
					return size, nil
				})
				if reports < c.least || reports > c.most {
					t.Error(reports, "reports in a minute")
				}
			})
		})
	}
	stop := make(chan struct{})
	close(stop)
	writeLedger(t.Context(), stop, func() (Report, bool) { return Report{}, true }, func(Report) (int, error) { return 1, nil })
	writeLedger(t.Context(), nil, func() (Report, bool) { return Report{}, true }, func(Report) (int, error) { return 0, errors.New("gone") })
	writeLedger(t.Context(), nil, func() (Report, bool) { return Report{}, false }, nil)
}

func TestLedger(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel tells nothing")
	}
	stop := make(chan struct{})
	u := serve(t, "127.0.0.1:0", identity(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ledger" {
			ServeLedger(w, r, stop)
			return
		}
		zeros(w, r)
	}), ServerOptions{})
	c := dial(t, &Dialer{Endpoint: u})
	var last Report
	if err := c.Ledger(testContext(t), "/ledger", func(r Report) {
		if last = r; r.Sent > 0 {
			select {
			case <-stop:
			default:
				close(stop)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if last.Control == "" || last.RTT <= 0 || last.Sent <= 0 {
		t.Errorf("%+v", last)
	}
	if n := c.m.active.Load(); n != 0 {
		t.Error(n, "requests under way")
	}
	if err := c.Ledger(testContext(t), "/0", func(Report) { t.Error("a report") }); err != nil {
		t.Error("a server without a ledger:", err)
	}

	// In process there is nothing to tell.
	l := Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ServeLedger(w, r, nil) }))
	defer l.Close()
	p, err := l.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(nil)
	if err := p.Ledger(testContext(t), "/", func(Report) { t.Error("a report") }); err != nil {
		t.Error(err)
	}
	// It ends with the lane.
	ended := errors.New("ended")
	time.AfterFunc(time.Millisecond, func() { c.Close(ended) })
	stop = make(chan struct{})
	if err := c.Ledger(testContext(t), "/ledger", func(Report) {}); !errors.Is(err, ended) {
		t.Error(err)
	}
}
