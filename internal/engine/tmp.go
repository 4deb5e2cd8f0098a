package engine

import (
	"context"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
)

func (e *Engine) Serve(ctx context.Context, o cli.ServeOptions, hooks cli.ServeHooks) error {
	return fault.New(fault.Other, "", "not yet")
}
func (e *Engine) List(ctx context.Context, o cli.ListOptions, emit func(cli.ListEntry) error) error {
	return fault.New(fault.Other, "", "not yet")
}
func (e *Engine) push(ctx context.Context, jo job.Options, src, dst place) (*event.Summary, error) {
	return nil, fault.New(fault.Other, "", "not yet")
}
