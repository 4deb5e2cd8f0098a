package lane

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// Report is what the sending side's kernel knows of a connection: most of what
// TCP knows of a path is known to the sender alone. Counters are those of the
// whole connection.
type Report struct {
	Control string        `json:"cc,omitzero"`     // congestion control
	RTT     time.Duration `json:"rtt,omitzero"`    // smoothed, microseconds on the wire
	MinRTT  time.Duration `json:"min,omitzero"`    // least, microseconds on the wire
	Sent    int64         `json:"sent,omitzero"`   // bytes, with those that were sent again
	Resent  int64         `json:"resent,omitzero"` // bytes that were sent again
	Rate    int64         `json:"rate,omitzero"`   // bytes per second that arrive, the latest estimate
	Busy    time.Duration `json:"busy,omitzero"`   // with data to send, milliseconds on the wire
	Window  time.Duration `json:"rwnd,omitzero"`   // of that, waiting for the peer's window
	Buffer  time.Duration `json:"sndbuf,omitzero"` // of that, waiting for its own buffer
	Backoff int           `json:"rto,omitzero"`    // retransmission timeouts in a row
}

// wireReport is Report in the units of the wire.
type wireReport Report

// MarshalJSON implements json.Marshaler.
func (r Report) MarshalJSON() ([]byte, error) {
	w := wireReport(r)
	w.RTT, w.MinRTT = w.RTT/time.Microsecond, w.MinRTT/time.Microsecond
	w.Busy, w.Window, w.Buffer = w.Busy/time.Millisecond, w.Window/time.Millisecond, w.Buffer/time.Millisecond
	return json.Marshal(w)
}

const (
	maxReport   = 4 << 10 // bytes of a line
	maxReported = 1 << 50 // of any number
)

// ParseReport reads one line of a ledger. What no kernel says is an error.
func ParseReport(line []byte) (Report, error) {
	var w wireReport
	if len(line) > maxReport {
		return Report{}, fmt.Errorf("report of %d bytes", len(line))
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return Report{}, err
	}
	for _, n := range []int64{int64(w.RTT), int64(w.MinRTT), w.Sent, w.Resent, w.Rate, int64(w.Busy), int64(w.Window), int64(w.Buffer), int64(w.Backoff)} {
		if n < 0 || n > maxReported {
			return Report{}, fmt.Errorf("impossible number %d", n)
		}
	}
	for _, d := range []struct {
		p    *time.Duration
		unit time.Duration
	}{{&w.RTT, time.Microsecond}, {&w.MinRTT, time.Microsecond}, {&w.Busy, time.Millisecond}, {&w.Window, time.Millisecond}, {&w.Buffer, time.Millisecond}} {
		if *d.p > time.Duration(1<<62)/d.unit {
			return Report{}, fmt.Errorf("impossible time %d", *d.p)
		}
		*d.p *= d.unit
	}
	if len(w.Control) > 32 || !validTarget("/"+w.Control) {
		w.Control = ""
	}
	return Report(w), nil
}

const (
	ledgerEvery = time.Second
	// ledgerLull is how long a ledger that would cost too much of what crosses
	// the connection may be silent.
	ledgerLull = 10 * time.Second
	// ledgerShare is what a report may be of the bytes sent since the one before.
	ledgerShare = 500
	// ledgerStall ends a ledger that nobody reads.
	ledgerStall = 30 * time.Second
)

// ServeLedger answers r with a line of JSON about the connection that it came
// on, once a second, as long as there is something to report, and until the
// request ends or stop is closed. Whoever mounts it has authorised the request.
// Where the system knows nothing it answers 204.
func ServeLedger(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	read := func() (Report, bool) {
		c := ConnOf(r.Context())
		if c == nil {
			return Report{}, false
		}
		i, ok := ReadInfo(c)
		return i.report(CongestionControl(c)), ok
	}
	if _, ok := read(); !ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	rc := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "application/jsonl")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // for nginx
	send := func(rep Report) (int, error) {
		line, err := json.Marshal(rep)
		if err != nil {
			return 0, err
		}
		_ = rc.SetWriteDeadline(time.Now().Add(ledgerStall))
		if _, err = w.Write(append(line, '\n')); err == nil {
			err = rc.Flush()
		}
		return len(line), err
	}
	writeLedger(r.Context(), stop, read, send)
}

// writeLedger sends what read returns, as often as that is worth it.
func writeLedger(ctx context.Context, stop <-chan struct{}, read func() (Report, bool), send func(Report) (int, error)) {
	tick := time.NewTicker(ledgerEvery)
	defer tick.Stop()
	var (
		last Report
		size int
		at   time.Time
	)
	for {
		rep, ok := read()
		if !ok {
			return
		}
		sent := rep.Sent - last.Sent
		idle := sent < int64(4*size) // about what the reports themselves are
		if at.IsZero() || sent >= int64(ledgerShare*size) || !idle && time.Since(at) >= ledgerLull {
			n, err := send(rep)
			if err != nil {
				return
			}
			last, size, at = rep, n, time.Now()
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// report returns the part of i that the other side wants to know.
func (i Info) report(control string) Report {
	return Report{
		Control: control, RTT: i.RTT, MinRTT: i.MinRTT, Sent: int64(i.BytesSent), Resent: int64(i.BytesRetrans), Rate: int64(i.DeliveryRate),
		Busy: i.Busy, Window: i.RwndLimited, Buffer: i.SndbufLimited, Backoff: i.Backoff,
	}
}

// Ledger asks the peer for its reports by "GET target" and calls got for each,
// until the lane or ctx ends, whose error it returns, or the peer ends it or
// has nothing to report: then it returns nil.
func (c *Conn) Ledger(ctx context.Context, target string, got func(Report)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://lane"+target, nil)
	if err != nil {
		return fault.Wrap(fault.Usage, err, "", "%q cannot be requested", target)
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		return err
	}
	c.m.active.Add(-1) // its silence says nothing
	defer func() {
		c.m.active.Add(1)
		_ = resp.Body.Close()
	}()
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	r := bufio.NewReaderSize(resp.Body, maxReport)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return fault.New(fault.Incompatible, "", "%s: a report of more than %d bytes", c.remote, maxReport)
		case err != nil:
			return err
		}
		rep, err := ParseReport(bytes.TrimSpace(line))
		if err != nil {
			return fault.Wrap(fault.Incompatible, err, "", "%s: a report that cannot be read", c.remote)
		}
		got(rep)
	}
}

// Slow reports whether a congestion control takes lost packets for a full
// link. What is not known is not.
func Slow(control string) bool { return control != "" && control != congestion }

// FixCongestion is what to do on a host that lacks it.
const FixCongestion = "modprobe tcp_bbr; for good: echo tcp_bbr > /etc/modules-load.d/tcp_bbr.conf"
