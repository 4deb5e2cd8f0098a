package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/lab"
	"github.com/ropeway/ropeway/internal/link"
)

func (a *app) labSetVerb() *cobra.Command {
	var events []link.Event
	var name string
	number, asJSON := 0, false
	cmd := &cobra.Command{
		Use:     "set [flags]",
		Short:   "Change a lab that runs, or show its counters",
		Example: "  ropeway lab set\n  ropeway lab set --profile=awful\n  ropeway lab set --event='blackout for 30s'",
		Args:    operands(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := lab.Change{Events: events}
			if name != "" {
				p, err := a.findLink(name)
				if err != nil {
					return err
				}
				c.Profile = &p
			}
			var s lab.Status
			err := a.call(cmd.Context(), func(ctx context.Context) (err error) {
				s, err = a.env.Engine.LabSet(ctx, number, c)
				return err
			})
			switch {
			case err != nil:
				return err
			case asJSON:
				_, _ = a.stdout.Write(jsonLine(newJSONLab(&s, 0, nil)))
			default:
				fmt.Fprint(a.stdout, labText(&s))
			}
			return nil
		},
	}
	return part(a.define(cmd, func(f *flags) {
		parsed(f, &name, notEmpty, "profile", "", "PROFILE", "", "what the link is from now on: a name, or a TOML file")
		f.add(&each[link.Event]{list: &events, typ: "EVENT", parse: link.ParseEvent}, "event", "", "something that happens to it, counted from now; several times")
		parsed(f, &number, strconv.Atoi, "lab", "", "NUM", "", "which, where several run")
		f.on(&asJSON, "json", "", "print JSON lines (docs/json.md)")
	}))
}

type jsonLeftover struct {
	jsonHead
	What      string `json:"what"`
	Name      string `json:"name"`
	Owner     int    `json:"owner,omitempty"`
	Processes []int  `json:"processes"`
	DryRun    bool   `json:"dry_run"`
}

func (a *app) labCleanVerb() *cobra.Command {
	dryRun, asJSON := false, false
	cmd := &cobra.Command{
		Use:   "clean [flags]",
		Short: "Remove what labs that were killed left behind",
		Long: `Remove what labs that were killed left behind: namespaces, the processes in them,
and control sockets. Every 'ropeway lab run' does it too. What belongs to a lab
that runs, or to another program, is never touched.`,
		Example: "  ropeway lab clean -n\n  ropeway lab clean",
		Args:    operands(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []LabLeftover
			err := a.call(cmd.Context(), func(ctx context.Context) (err error) {
				list, err = a.env.Engine.LabClean(ctx, dryRun)
				return err
			})
			did := "removed"
			if dryRun {
				did = "would remove"
			}
			for _, l := range list {
				if asJSON {
					_, _ = a.stdout.Write(jsonLine(jsonLeftover{head("leftover"), l.What, l.Name, l.Owner, append([]int{}, l.Processes...), dryRun}))
					continue
				}
				text := fmt.Sprintf("%s %s %s", did, l.What, printable(l.Name))
				if len(l.Processes) > 0 {
					text += fmt.Sprintf(", and in it the processes %v", l.Processes)
				}
				fmt.Fprintln(a.stdout, text)
			}
			if len(list) == 0 && err == nil && !asJSON {
				fmt.Fprintln(a.stdout, "nothing was left behind")
			}
			return err
		},
	}
	return part(a.define(cmd, func(f *flags) {
		f.on(&dryRun, "dry-run", "n", "only show what would be removed")
		f.on(&asJSON, "json", "", "print JSON lines (docs/json.md)")
	}))
}
