package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fetch"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/wire"
)

// Dial makes one connection to the sender.
type Dial func(ctx context.Context) (*lane.Conn, error)

// sender is a server that the job asks: the source, or one of its mirrors.
type sender struct {
	Mirror
	j     *job
	index int
}

// Dial implements fetch.Dialer.
func (s *sender) Dial(ctx context.Context) (fetch.Lane, error) {
	c, err := s.Mirror.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &link{Conn: c, from: s}, nil
}

// senders returns everyone that can be asked, the source first.
func (j *job) senders() (all []fetch.Source) {
	o := &j.o
	first := Mirror{Dial: o.Dial, Module: o.Module, Path: o.Path, Name: o.From, Budget: o.Budget}
	for i, m := range append([]Mirror{first}, o.Mirrors...) {
		if m.Budget == nil {
			m.Budget = fetch.NewBudget(0)
		}
		all = append(all, fetch.Source{Dialer: &sender{m, j, i}, Budget: m.Budget, Name: m.Name})
	}
	return all
}

// link is a lane that speaks the native protocol.
type link struct {
	*lane.Conn
	from   *sender
	road   road
	ledger sync.Once
	asked  asked
}

// Counters implements fetch.Lane.
func (l *link) Counters() (in, out int64) { return l.In(), l.Out() }

// Path implements fetch.Lane.
func (l *link) Path() fetch.PathInfo {
	i, ok := l.Info()
	if !ok {
		return fetch.PathInfo{RTT: l.RTT()}
	}
	return l.road.info(time.Now(), i)
}

// Close implements fetch.Lane.
func (l *link) Close(cause error) { l.Conn.Close(cause) }

func (l *link) request(ctx context.Context, method, path, query string, body io.Reader) (*http.Request, error) {
	u := url.URL{Scheme: "https", Host: "ropeway", Path: "/v1/m/" + l.from.Module + "/" + path, RawQuery: query}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fault.Wrap(fault.Other, err, "", "request")
	}
	req.Header.Set(wire.ProtocolHeader, strconv.Itoa(wire.Protocol))
	return req, nil
}

// Get implements fetch.Lane.
func (l *link) Get(ctx context.Context, r fetch.Request, block func(int, []byte) error) error {
	l.ledger.Do(l.follow)
	query, compressed := strings.CutPrefix(r.Locator, "z&")
	if !compressed {
		query = r.Locator
	}
	req, err := l.request(ctx, http.MethodGet, "o/"+r.Object.ID.String(), l.from.locate(query), nil)
	if err != nil {
		return err
	}
	l.from.j.shape(req.Header)
	from := int64(r.From) * digest.BlockSize
	to := min(int64(r.To)*digest.BlockSize, r.Object.Size)
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	req.Header.Set("Accept-Encoding", "identity")
	if compressed {
		req.Header.Set("Accept-Encoding", "zstd")
	}
	l.asked.begin(time.Now())
	defer func() { l.asked.end(time.Now()) }()
	resp, err := l.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	l.granted(resp)
	if resp.StatusCode != http.StatusPartialContent {
		return refusal(resp)
	}
	body := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "zstd" {
		dec := decoder(body)
		defer putDecoder(dec)
		body = dec
	}
	bp := blocks.Get().(*[]byte)
	defer blocks.Put(bp)
	for i := r.From; i < r.To; i++ {
		data := (*bp)[:r.Object.BlockLen(i)]
		if _, err := io.ReadFull(body, data); err != nil {
			return fmt.Errorf("answer ended early: %w", err)
		}
		if err := block(i, data); err != nil {
			return err
		}
	}
	return nil
}

// granted notes how many lanes the sender lets this process have.
func (l *link) granted(resp *http.Response) {
	if text := resp.Header.Get(wire.LanesHeader); text != "" {
		if n, err := strconv.Atoi(text); err == nil {
			l.from.Budget.Grant(n)
		}
	}
}

var blocks = sync.Pool{New: func() any { b := make([]byte, digest.BlockSize); return &b }}

var decoders sync.Pool

func decoder(r io.Reader) *zstd.Decoder {
	if d, ok := decoders.Get().(*zstd.Decoder); ok {
		_ = d.Reset(r)
		return d
	}
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("job: " + err.Error()) // only for bad options, which these are not
	}
	return d
}

func putDecoder(d *zstd.Decoder) {
	_ = d.Reset(nil)
	decoders.Put(d)
}

// refusal turns an answer that is not the wanted one into an error.
func refusal(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusGone:
		return fetch.ErrGone
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		after := time.Second
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			after = time.Duration(min(max(n, 1), 300)) * time.Second
		}
		return fetch.RetryAfter{After: after}
	}
	var p struct{ Class, Text, Hint string }
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if json.Unmarshal(body, &p) == nil && p.Class != "" {
		return remoteError(p.Class, p.Text, p.Hint)
	}
	text := strings.TrimSpace(string(body[:min(len(body), 200)]))
	class := fault.Network
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		class = fault.Denied
	case http.StatusNotFound:
		class = fault.NotFound
	case http.StatusUpgradeRequired:
		class = fault.Incompatible
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestedRangeNotSatisfiable:
		class = fault.Other
	}
	return fault.New(class, "", "the server answers %d: %s", resp.StatusCode, text)
}

// remoteError is an error that the sender reported. The classes that say how
// this process ends are not the sender's to choose.
func remoteError(class, text, hint string) error {
	c := fault.Parse(class)
	switch c {
	case fault.OK, fault.Partial, fault.Interrupted, fault.Terminated:
		c = fault.Other
	}
	e := fault.New(c, hint, "%s", text)
	e.Text = "server: " + clean(text)
	e.Hint = clean(hint)
	return e
}

// clean makes a peer's text safe to print.
func clean(s string) string {
	if len(s) > 1024 {
		s = s[:1024]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
}

var errFrame = errors.New("unexpected frame in a plan")
