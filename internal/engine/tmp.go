package engine

import (
	"context"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/server"
)

func newPusher(m server.PushModule) (server.Pusher, error) {
	return nil, fault.New(fault.Other, "", "not yet")
}

func (e *Engine) Demo(ctx context.Context, o cli.DemoOptions, report event.Func) error {
	return fault.New(fault.Other, "", "not yet")
}
func (e *Engine) push(ctx context.Context, jo job.Options, src, dst place) (*event.Summary, error) {
	return nil, fault.New(fault.Other, "", "not yet")
}
