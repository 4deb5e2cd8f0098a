package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootHelp = `ropeway gets files and releases across networks that lose, reorder and forget.

  ropeway serve ./release                           offer a directory, print its URL
  ropeway sync -a https://host:8730/release/ ./app  make ./app what it is

Trailing slash, as with rsync: SRC/ means what is in SRC, SRC means SRC itself,
so that 'ropeway sync -a a/ b' makes b/file, 'ropeway sync -a a b' makes b/a/file.

What was interrupted is continued by running the same command again.
`

// helpVerb is `ropeway help`: for verbs and topics.
func helpVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "help [verb or topic]",
		Short:   "Show help for a verb or a topic",
		GroupID: groupMore,
		Example: "  ropeway help sync\n  ropeway help exit-codes",
		RunE: func(cmd *cobra.Command, args []string) error {
			found := cmd.Root()
			for _, arg := range args {
				next := child(found, arg)
				if next == nil {
					return unknownVerb(found, arg)
				}
				found = next
			}
			fmt.Fprint(a.stdout, helpText(found))
			return nil
		},
	}
}

func child(parent *cobra.Command, name string) *cobra.Command {
	for _, c := range parent.Commands() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// topics are pages of help that are no verbs.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesText()},
		{Use: "filters", Short: "How filter rules are written", Long: filtersText},
		{Use: "environment", Short: "Environment variables", Long: environmentText},
	}
}

const filtersText = `Filter rules, as in rsync. They stand in the order of --exclude, --include,
--filter, --exclude-from and --include-from; for each path the first rule that
matches wins, and what no rule matches is copied.

  --exclude=PATTERN   is the rule  - PATTERN
  --include=PATTERN   is the rule  + PATTERN
  --filter='P PATTERN'   protect: never delete it at the destination
  --filter='merge FILE'  read rules from FILE; rule files inside the tree are not read

A pattern
  that begins with /  is tied to the top of what is copied
  that ends with /    matches directories only
  with a / inside     is compared with the end of the path, otherwise with the name
  *                   matches any text without a /
  **                  matches any text
  ?                   matches one character but /
  [a-z]               matches one of a set
  that ends with /*** matches a directory and all that is in it

A directory that is left out is not looked into: to copy only *.conf files,
  --include='*/' --include='*.conf' --exclude='*'

In files each line is a rule; empty lines and lines that begin with # or ; are
ignored.
`

const environmentText = `Every flag can come from the environment: ROPEWAY_ and the flag's name in
capitals, with _ for -, so that ROPEWAY_BWLIMIT=500K stands for --bwlimit=500K.
Switches are 1 or 0. Filter flags take one rule per line. An empty variable is
as good as none.

A flag outranks its variable, a variable outranks the default. Filter rules
from the environment come after those of the command line; a kind of rule that
the command line uses is not taken from the environment.

Other variables
  NO_COLOR          no colour, if set to anything
  TERM=dumb         no live line
  STATE_DIRECTORY   where serve keeps its state, if --state-dir is not given
  XDG_STATE_HOME    its parent otherwise (default ~/.local/state)
`

// helpText renders the help of a command or topic.
func helpText(cmd *cobra.Command) string {
	var b strings.Builder
	switch {
	case !cmd.HasParent():
		b.WriteString(rootHelp)
		writeVerbs(&b, cmd)
		b.WriteString("\n'ropeway VERB --help' shows flags and examples.\n")
		return b.String()
	case cmd.IsAdditionalHelpTopicCommand():
		return cmd.Long
	}
	if cmd.Long != "" {
		b.WriteString(strings.TrimRight(cmd.Long, "\n") + "\n\n")
	} else {
		b.WriteString(cmd.Short + "\n\n")
	}
	fmt.Fprintf(&b, "Usage\n  %s\n", cmd.UseLine())
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples\n%s\n", strings.TrimRight(cmd.Example, "\n"))
	}
	if cmd.HasAvailableSubCommands() {
		writeVerbs(&b, cmd)
	}
	writeFlags(&b, cmd)
	return b.String()
}

func writeVerbs(b *strings.Builder, cmd *cobra.Command) {
	line := func(c *cobra.Command) { fmt.Fprintf(b, "  %-12s %s\n", c.Name(), c.Short) }
	for _, g := range cmd.Groups() {
		fmt.Fprintf(b, "\n%s\n", g.Title)
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && (c.IsAvailableCommand() || c.Name() == "help") {
				line(c)
			}
		}
	}
	var rest, pages []*cobra.Command
	for _, c := range cmd.Commands() {
		switch {
		case c.IsAdditionalHelpTopicCommand():
			pages = append(pages, c)
		case c.GroupID == "" && c.IsAvailableCommand():
			rest = append(rest, c)
		}
	}
	section := func(title string, list []*cobra.Command) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(b, "\n%s\n", title)
		for _, c := range list {
			line(c)
		}
	}
	section("Verbs", rest)
	section("Topics (ropeway help TOPIC)", pages)
}

// writeFlags lists flags under their headings, each with its variable.
func writeFlags(b *strings.Builder, cmd *cobra.Command) {
	group := ""
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if g := f.Annotations[flagGroup]; len(g) > 0 && g[0] != group {
			group = g[0]
			fmt.Fprintf(b, "\n%s\n", group)
		}
		writeFlag(b, f)
	})
	if fs := cmd.Flags(); fs.Lookup("no-owner") != nil {
		b.WriteString("\n--no-X turns off a switch of -a: --no-owner or --no-o, --no-group or --no-g, ...\n" +
			"Switches act in the order in which they stand: -a --no-o.\n")
	}
	if group != "" {
		b.WriteString("\nFlag before environment variable (in brackets) before default.\n")
	}
}

const (
	flagColumn = 28 // where the text of a flag begins
	helpWidth  = 96
)

func writeFlag(b *strings.Builder, f *pflag.Flag) {
	head := "      "
	if f.Shorthand != "" {
		head = "  -" + f.Shorthand + ", "
	}
	head += "--" + f.Name
	if f.NoOptDefVal == "" {
		head += "=" + f.Value.Type()
	}
	text := f.Usage
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
		text += ", default " + f.DefValue
	}
	text += " [" + envName(f.Name) + "]"
	fmt.Fprintf(b, "%-*s", flagColumn, head)
	at := max(flagColumn, len(head))
	for i, word := range strings.Fields(text) {
		switch {
		case at+1+len(word) > helpWidth || i == 0 && at > flagColumn:
			fmt.Fprintf(b, "\n%*s%s", flagColumn, "", word)
			at = flagColumn + len(word)
		case i == 0:
			b.WriteString(word)
			at += len(word)
		default:
			b.WriteString(" " + word)
			at += 1 + len(word)
		}
	}
	b.WriteByte('\n')
}
