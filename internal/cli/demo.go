package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/event"
)

const demoLong = `Serve a release (source code and an archive) on this machine, sync it across a
simulated bad link, upgrade it to the next version, and verify each result by
reading both trees. The link loses packets, resets and forgets connections,
and goes dead; the server is killed once. It takes about a minute and needs
nothing but room for temporary files, which are removed at the end.

The exit code is 0 only if everything was verified.`

const demoExample = `  ropeway demo
  ropeway demo --quick
  ropeway demo --loss=15 --rtt=300ms --cut=30s`

func (a *app) demoVerb() *cobra.Command {
	var o DemoOptions
	var show showOptions
	cmd := &cobra.Command{
		Use:     "demo [flags]",
		Short:   "Show syncs across a simulated bad link",
		Long:    demoLong,
		Example: demoExample,
		Args:    operands(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.report(cmd.Context(), show, func(ctx context.Context, report event.Func) error {
				return a.env.Engine.Demo(ctx, o, func(e event.Event) {
					if _, is := e.(event.Summary); is && !show.json && !show.stats {
						return // the notes have told it better
					}
					report(e)
				})
			})
		},
	}
	return a.define(cmd, func(f *flags) {
		f.group = "The link"
		size := func(s string) (int64, error) { return parseSize(s, 'B') }
		parsed(f, &o.Loss, parseShare, "loss", "", "PERCENT", "1", "packets that are lost")
		parsed(f, &o.RTT, parseDuration, "rtt", "", "TIME", "40ms", "there and back")
		parsed(f, &o.Rate, parseRate, "rate", "", "RATE", "5MB", "bytes per second: KiB, or with a suffix K, M, G")
		parsed(f, &o.Cut, parseDuration, "cut", "", "TIME", "6s", "how long the link is dead once")
		parsed(f, &o.Seed, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) },
			"seed", "", "NUM", "1", "of the simulation's chance")
		f.group = "The files"
		parsed(f, &o.Size, size, "size", "", "SIZE", "60606801", "bytes of the archive, 16 KiB to 1 GiB")
		f.on(&o.Quick, "quick", "", "less of everything: about 15 s")
		f.group = "What is printed"
		f.add(&count{n: &show.verbose}, "verbose", "v", "print the names of what changes").NoOptDefVal = "+1"
		f.on(&show.progress, "progress", "P", "print a status line every 10 s where there is no terminal")
		f.on(&show.stats, "stats", "", "print all counters at the end")
		f.on(&show.human, "human-readable", "h", "print sizes as 1.23 MB")
		f.on(&show.json, "json", "", "print JSON lines (docs/json.md)")
	})
}
