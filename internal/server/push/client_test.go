package push

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/manifest"
)

// serve replaces the push server's handler.
func (s *site) serve(h http.HandlerFunc) { s.http.Handler = h }

func TestSilentServerIsLeft(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		var posts atomic.Int32
		s.serve(func(w http.ResponseWriter, r *http.Request) {
			n := posts.Add(1)
			if n > 1 { // the first has not even an answer
				w.WriteHeader(http.StatusOK)
				_, _ = io.WriteString(w, "{}\n")
				_ = http.NewResponseController(w).Flush()
			}
			if n == 4 {
				_, _ = io.WriteString(w, `{"result":{"class":"ok"}}`+"\n")
				return
			}
			<-r.Context().Done()
		})
		c := s.client()
		at := time.Now()
		out := <-c.start(t.Context(), Request{})
		if d := time.Since(at); out.err != nil || d < 3*quiet || d > 3*quiet+5*time.Second {
			t.Error(out.err, d)
		}
		if all := c.events(); index(all, isLink(false)) < 0 || index(all, isLink(true)) < 0 {
			t.Error(all)
		}
	})
}

func TestAnswersThatEndIt(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		for _, c := range []struct {
			status int
			body   string
			class  fault.Class
			text   string
		}{
			{200, "what\n", fault.Incompatible, "no report"},
			{200, strings.Repeat("x", maxLine+1), fault.Incompatible, "a line of more than"},
			{200, `{"result":{"class":"interrupted"}}` + "\n", fault.Other, "without a reason"},
			{200, `{"result":{"class":"denied","text":"a\u001b[1m","hint":"b\u0007"}}` + "\n", fault.Denied, "a?[1m"},
			{401, "", fault.Denied, "Unauthorized"},
			{403, "read\nonly", fault.Denied, "Forbidden: read?only"},
			{404, "404 page not found\n", fault.NotFound, "page not found"},
			{409, `{"class":"busy","text":"x"}`, fault.Busy, "x"},
			{500, "", fault.Other, "Internal"},
		} {
			s.serve(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			out := <-s.client().start(t.Context(), Request{})
			if fault.ClassOf(out.err) != c.class || !strings.Contains(out.err.Error(), c.text) || strings.ContainsAny(out.err.Error(), "\n\x1b") {
				t.Error(c, out.err)
			}
		}
	})
}

func TestOverloadedServerIsLeftAlone(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		posts := 0
		s.serve(func(w http.ResponseWriter, r *http.Request) {
			if posts++; posts == 1 {
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, `{"result":{"class":"ok"}}`+"\n")
		})
		at := time.Now()
		out := <-s.client().start(t.Context(), Request{})
		if d := time.Since(at); out.err != nil || d < 30*time.Second || d > 31*time.Second {
			t.Error(out.err, d)
		}
	})
}

func TestCancelWithoutALink(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		c := s.client()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := c.start(ctx, Request{})
		time.Sleep(5 * time.Second)
		c.cut()
		time.Sleep(5 * time.Second)
		left := errors.New("the user left")
		at := time.Now()
		cancel(left)
		if out := <-done; !errors.Is(out.err, left) || time.Since(at) > 2*withdrawLimit {
			t.Error(out.err, time.Since(at))
		}
	})
}

// A link that is slow to open lanes is asked no more than it can hold.
func TestLanesThatFailAreTriedAgain(t *testing.T) {
	within(t, func(ctx context.Context, o job.Options) (*event.Summary, error) {
		time.Sleep(3 * time.Second)
		got, err := get(ctx, o.Dial, "/x")
		if got != "here is /x" {
			t.Error(got, err)
		}
		return &event.Summary{}, nil
	}, func(t *testing.T, s *site) {
		c := s.client()
		done := c.start(t.Context(), Request{})
		time.Sleep(2 * time.Second) // the control stream is up
		c.link.RefuseDials(true)
		time.Sleep(5 * time.Second)
		c.link.RefuseDials(false)
		if out := <-done; out.err != nil || c.link.Stats().Refused < 2 {
			t.Error(out.err, c.link.Stats())
		}
	})
}

func TestPermissionsNeedHardening(t *testing.T) {
	within(t, idle, func(t *testing.T, s *site) {
		var mask atomic.Uint32
		s.push.Load().Close()
		s.push.Store(New(Config{Module: "m", Root: s.root, Run: func(_ context.Context, o job.Options) (*event.Summary, error) {
			mask.Store(uint32(o.Mask))
			return &event.Summary{}, nil
		}}))
		c := s.client()
		out := <-c.start(t.Context(), Request{Mask: manifest.Perm | manifest.Times})
		if all := c.events(); out.err != nil || manifest.Mask(mask.Load()) != manifest.Times || len(all) != 1 ||
			!strings.Contains(all[0].(event.Warn).Text, "permissions") {
			t.Error(out.err, mask.Load(), all)
		}
	})
}
