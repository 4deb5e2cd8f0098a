package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/server"
	"github.com/ropeway/ropeway/internal/server/push"
)

// newPusher makes what takes pushes for a module. Peers may not leave setuid
// or setgid files behind.
func newPusher(m server.PushModule) (server.Pusher, error) {
	return &pusher{push.New(push.Config{
		Module: m.Name, Root: m.Path, Log: m.Log, Timeout: job.DefaultTimeout,
		Harden: func(o *job.Options) { o.StripSetID = true },
	})}, nil
}

type pusher struct{ s *push.Server }

func (p *pusher) Handler() http.Handler { return p.s.Handler() }

func (p *pusher) Reverse(r *http.Request) (func(*lane.Conn), error) { return p.s.Reverse(r) }

func (p *pusher) Sweep(now time.Time) { p.s.Sweep(now) }

func (p *pusher) Close() { p.s.Close() }

// push syncs a local source to a server, which fetches it by the lanes that
// this side dials.
func (e *Engine) push(ctx context.Context, jo job.Options, src, dst place, mirrors []string) (*event.Summary, error) {
	module := dst.url.Module
	if module == "" {
		return nil, fault.New(fault.Usage, "list the modules with: ropeway ls "+dst.text, "%s names no module", dst.text)
	}
	o, err := e.offer(src, module)
	if err != nil {
		return nil, err
	}
	defer o.close()
	if jo.TempDir != "" {
		return nil, fault.New(fault.Usage, "leave it out", "--temp-dir is of the side that receives, which is the server")
	}
	d := e.dialer(dst, &jo)
	if err := e.mirrors(&jo, d, dst, mirrors); err != nil {
		return nil, err
	}
	if len(jo.Mirrors) > 0 {
		return nil, fault.New(fault.Usage, "give further addresses of that server, or push to the others by themselves",
			"a push goes to one server: --mirror %s is another one", jo.Mirrors[0].Name)
	}
	c := &push.Client{
		Dialer: d, Rate: jo.Rate, Module: module, Origin: o.origin.Handler(), Timeout: jo.Timeout, ConnectTimeout: jo.ConnectTimeout,
	}
	return c.Run(ctx, push.Request{
		Path: dst.url.Path, Source: o.path, Mask: jo.Mask, Recursive: jo.Recursive, One: !src.within, OmitRoot: jo.OmitRoot || !src.within,
		Checksum: jo.Checksum, Whole: jo.Whole, NoWhole: jo.NoWhole, Filter: jo.Filter.AppendText(nil), Delete: jo.Delete, MaxDelete: jo.MaxDelete,
		Atomic: jo.Atomic, Early: jo.Early, Fsync: jo.Fsync, DryRun: jo.DryRun, NumericIDs: jo.NumericIDs,
		Items: true, From: src.text, BwLimit: jo.BwLimit, Lanes: jo.Lanes, Nice: jo.Nice,
	}, jo.Events)
}
