package engine

import (
	"context"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

func (e *Engine) Demo(ctx context.Context, o cli.DemoOptions, report event.Func) error {
	return fault.New(fault.Other, "", "not yet")
}
