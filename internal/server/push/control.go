package push

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lane"
)

// errSilent is why a control stream is given up although it is up.
var errSilent = fault.New(fault.Network, "", "no answer from the server for %v", quiet)

// attempt follows the job on a connection of its own, until it has a result or
// the connection fails.
func (p *pusher) attempt() (*result, error) {
	conn, err := p.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close(nil)
	post := p.post
	post.Seq = p.next
	if p.c.Rate != nil {
		post.BwLimit = p.c.Rate(time.Now())
	}
	first, err := json.Marshal(&post)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "", "push")
	}
	ctx, cancel := context.WithCancelCause(p.ctx)
	dog := time.AfterFunc(min(quiet, p.left()), func() { cancel(errSilent) })
	defer dog.Stop()
	body, w := io.Pipe()
	pulsed := make(chan struct{})
	go func() {
		defer close(pulsed)
		pulse(ctx, w, append(first, '\n'), post.BwLimit, p.c.Rate)
	}()
	defer func() {
		cancel(nil)
		_ = body.Close()
		<-pulsed
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, pushPath(p.c.Module), body)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "", "push")
	}
	req.Header.Set("Content-Type", "application/json")
	p.told = true
	resp, err := conn.RoundTrip(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		var res *result
		if res, err = p.follow(resp, dog); res != nil {
			return res, nil
		}
	}
	if p.ctx.Err() != nil {
		cancel(nil)
		p.withdraw(conn)
	}
	return nil, err
}

// dial makes a connection. It tries afresh every second while none has come:
// when a link returns, the kernel is slow to notice for those that waited.
func (p *pusher) dial() (*lane.Conn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, min(dialLimit, p.left()))
	defer cancel()
	type dialed struct {
		conn *lane.Conn
		err  error
	}
	results := make(chan dialed, dialMost)
	under := 0
	start := func() {
		under++
		p.wg.Go(func() {
			conn, err := p.c.Dialer.Dial(ctx)
			results <- dialed{conn, err}
		})
	}
	defer func() { // what comes too late is not wanted
		cancel()
		late := under
		p.wg.Go(func() {
			for range late {
				if d := <-results; d.conn != nil {
					d.conn.Close(nil)
				}
			}
		})
	}()
	tick := time.NewTicker(dialEvery)
	defer tick.Stop()
	for start(); ; {
		select {
		case d := <-results:
			under--
			switch {
			case d.err == nil:
				return d.conn, nil
			case ctx.Err() != nil && p.ctx.Err() == nil:
				return nil, fault.New(fault.Network, "", "%s: no answer", p.c.Dialer.Endpoint.Addr())
			case under == 0 || fault.ClassOf(d.err) != fault.Network:
				return nil, d.err
			}
		case <-tick.C:
			if under < dialMost {
				start()
			}
		}
	}
}

// pulse writes first, and then a sign of life once a second: the new rate when
// it is no longer what was told.
func pulse(ctx context.Context, w *io.PipeWriter, first []byte, told int64, rate func(time.Time) int64) {
	_, err := w.Write(first)
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for err == nil {
		select {
		case now := <-t.C:
			line := []byte("\n")
			if rate != nil {
				if n := rate(now); n != told {
					told = n
					line = fmt.Appendf(nil, "{\"bwlimit\":%d}\n", n)
				}
			}
			_, err = w.Write(line)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	_ = w.CloseWithError(err)
}

// follow reads the answer.
func (p *pusher) follow(resp *http.Response, dog *time.Timer) (*result, error) {
	if resp.StatusCode != http.StatusOK {
		p.told = false // or no longer
		err := refusal(resp)
		if n, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && n > 0 && fault.ClassOf(err) == fault.Network {
			err = &retryAfter{err, min(time.Duration(min(n, 1e6))*time.Second, maxRetryAfter)}
		}
		return nil, err
	}
	r := bufio.NewReaderSize(resp.Body, maxLine)
	for {
		b, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fault.New(fault.Incompatible, "", "the server sent a line of more than %d bytes", maxLine)
		case errors.Is(err, io.EOF):
			return nil, fault.Wrap(fault.Network, errNoResult, "", "%s", p.c.Dialer.Endpoint.Addr())
		case err != nil:
			return nil, err
		}
		var l line
		if err := json.Unmarshal(bytes.TrimSpace(b), &l); err != nil {
			return nil, fault.Wrap(fault.Incompatible, err, "", "the server sent something that is no report")
		}
		dog.Stop() // whoever takes the events may need its time
		if res := p.line(&l); res != nil {
			return res, nil
		}
		dog.Reset(quiet)
	}
}
