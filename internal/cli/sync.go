package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

const syncLong = `Make DST what SRC is. One of them can be a URL that 'ropeway serve' printed.

Trailing slash, as with rsync: SRC/ means what is in SRC, SRC means SRC itself.

Nothing at DST is ever half-replaced. A link that is down is waited for, see
--timeout; what was interrupted goes on where it was when the same command
runs again.`

const syncExample = `  ropeway sync -a https://host/m/site/ ./site          fetch a tree
  ropeway sync -av --delete ./site/ https://host/m/site/   send it back
  ropeway sync -ain --exclude='*.log' https://host/m/site/ ./site   see what would change
  ropeway sync -a --bwlimit=1.5M --timeout=1h https://host/m/site/ ./site`

func (a *app) syncVerb() *cobra.Command {
	var s syncFlags
	cmd := &cobra.Command{
		Use:     "sync [flags] SRC... DST",
		Short:   "Make one place what another is",
		Long:    syncLong,
		Example: syncExample,
		Args:    cobra.ArbitraryArgs, // options tells what is missing
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := s.options(args, a)
			if err != nil {
				return err
			}
			return a.sync(cmd.Context(), o)
		},
	}
	return a.define(cmd, func(f *flags) { addSyncFlags(f, &s) })
}

func (a *app) sync(ctx context.Context, o SyncOptions) error {
	ctx, cancel := withDeadline(ctx, o)
	defer cancel()
	return a.report(ctx, showOptions{
		json: o.JSON, quiet: o.Quiet, verbose: o.Verbose, itemize: o.Itemize,
		human: o.Human, progress: o.Progress, stats: o.Stats,
	}, func(ctx context.Context, report event.Func) error {
		return a.env.Engine.Sync(ctx, o, report)
	})
}

// withDeadline ends the context, with a cause that the user can read, when the
// job has taken as long as it may.
func withDeadline(ctx context.Context, o SyncOptions) (context.Context, context.CancelFunc) {
	if o.Deadline <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, o.Deadline, fault.New(fault.Limit,
		"run the same command again to continue: what was verified is kept",
		"sync: not finished within the deadline of %s", o.Deadline))
}

// report runs f and prints its events until it ends.
func (a *app) report(ctx context.Context, o showOptions, f func(context.Context, event.Func) error) error {
	show := a.show(o)
	err := a.call(ctx, func(ctx context.Context) error { return f(ctx, show.handle) })
	err = a.verdict(ctx, err)
	a.note.Store(nil)
	defer a.hurry(ctx, show.out)()
	lost := show.close()
	switch failed := show.failed(); {
	case err != nil:
		return err
	case lost != nil:
		return fault.Wrap(fault.Other, lost, "the transfer itself is complete", "cannot write the output")
	case failed > 0:
		return fault.New(fault.Partial, "the warnings above name them", "%s could not be brought over",
			plural(failed, "item", "items"))
	}
	return nil
}

// hurry has out abandoned when the command was told to stop and nobody reads
// what it still prints. The result ends that.
func (a *app) hurry(ctx context.Context, out *output) func() {
	if ctx.Err() == nil {
		return func() {}
	}
	a.stopped.Store(true)
	timer := time.AfterFunc(patience, out.abandon)
	return func() { timer.Stop() }
}
