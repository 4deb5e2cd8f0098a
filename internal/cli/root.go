package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

const (
	groupMain = "main"
	groupMore = "more"
)

// root builds the tree of verbs for one run.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "ropeway",
		Short:         "Get files across networks that lose, reorder and forget",
		SilenceErrors: true, // finish prints them
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that RunE sees what is no verb
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			fmt.Fprint(a.stderr, helpText(cmd))
			return usage("", "no verb was given")
		},
	}
	root.SetIn(a.env.Stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { fmt.Fprint(a.stdout, helpText(cmd)) })
	root.SetUsageFunc(func(*cobra.Command) error { return nil })
	// Defined here so that cobra does not take the letter h for it.
	root.PersistentFlags().Bool("help", false, "show this help")
	root.AddGroup(&cobra.Group{ID: groupMain, Title: "Verbs"}, &cobra.Group{ID: groupMore, Title: "More"})
	root.SetHelpCommand(helpVerb(a))
	root.SetCompletionCommandGroupID(groupMore)
	root.AddCommand(
		a.syncVerb(), a.serveVerb(), a.lsVerb(), a.diffVerb(), a.patchVerb(), a.labVerb(), a.demoVerb(), a.versionVerb(),
	)
	root.AddCommand(topics()...)
	return root
}

// define adds the flags of a verb and gives them their values from the
// environment, so that the arguments, parsed later, win.
func (a *app) define(cmd *cobra.Command, add func(*flags)) *cobra.Command {
	cmd.GroupID = groupMain
	add(newFlags(cmd))
	wrong := readEnv(cmd.Flags(), a.env.Getenv)
	args := cmd.Args
	cmd.Args = func(cmd *cobra.Command, list []string) error {
		if wrong != nil {
			return wrong
		}
		return args(cmd, list)
	}
	return cmd
}

// operands accepts from least to most arguments and says what they are.
func operands(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usage(cmd.CommandPath()+" --help", "%s: needs %s", cmd.Name(), what)
		}
		if len(args) > most {
			return usage(cmd.CommandPath()+" --help", "%s: too many arguments, from %s on", cmd.Name(), quote(args[most]))
		}
		return nil
	}
}
