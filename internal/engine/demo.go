package engine

import (
	"context"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/demo"
	"github.com/ropeway/ropeway/internal/event"
)

// Demo implements cli.Engine.
func (e *Engine) Demo(ctx context.Context, o cli.DemoOptions, report event.Func) error {
	return demo.Run(ctx, demo.Options{
		Size: o.Size, Rate: o.Rate, RTT: o.RTT, Loss: o.Loss, Cut: o.Cut, Seed: o.Seed, Quick: o.Quick,
		GoRoot: func(ctx context.Context) string { return demo.FindGo(ctx, e.getenv) },
	}, report)
}
