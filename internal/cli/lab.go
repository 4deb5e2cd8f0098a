package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/link"
)

const labLong = `Run programs on a network as bad as you ask for: two or more hosts on this
machine, joined by a link that delays, loses, reorders, forgets and dies on
demand. The hosts are network namespaces of Linux: they see each other and
nothing else. Needs root, or user namespaces, and /dev/net/tun.

A link is a profile ('ropeway lab profiles' lists them) or a TOML file
(docs/lab.md). Events happen to it while it runs:

  blackout@20MB for 70s      all is lost for 70 s, after 20 MB were delivered
  blackout:ab@10s for 30s    only from host a to host b, after 10 s
  stall@5s for 70s           all is late, nothing is lost
  forget@20MB                NAT or VPN forget all connections; new ones work
  reset:b@20MB               host b gets a RST, then the connections are dead
  age:30s                    every connection dies when it is 30 s old
  set:loss=5%@10s for 20s    another link for a while
  address:a@10s              host a gets another address
  clear@90s                  ends blackouts and stalls`

const labExample = `  ropeway lab profiles
  ropeway lab run --profile=bad-vpn --host a='nginx ...' --host b='wget http://$A/f'
  ropeway lab run --profile=qa-vpn --event='blackout@20MB for 70s'`

func (a *app) labVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "lab",
		Short:   "Run programs on a weak network in a box",
		Long:    labLong,
		Example: labExample,
		GroupID: groupMain,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			fmt.Fprint(a.stderr, helpText(cmd))
			return usage("", "lab: no verb was given")
		},
	}
	cmd.AddCommand(a.labRunVerb(), a.labProfilesVerb(), a.labSetVerb(), a.labCleanVerb(), a.labIncidentVerb(), a.labBenchVerb())
	return cmd
}

// part makes cmd a part of a verb: it stands in no group.
func part(cmd *cobra.Command) *cobra.Command {
	cmd.GroupID = ""
	return cmd
}

// each is a flag that can be given several times. Its environment variable has
// one value per line, and is not used when the flag is.
type each[T any] struct {
	list  *[]T
	typ   string
	parse func(string) (T, error)
	env   bool
}

func (e *each[T]) String() string { return "" }
func (e *each[T]) Type() string   { return e.typ }
func (e *each[T]) Set(s string) error {
	v, err := e.parse(s)
	if err != nil {
		return err
	}
	if e.env {
		*e.list, e.env = nil, false
	}
	*e.list = append(*e.list, v)
	return nil
}

func (e *each[T]) setEnv(s string) error {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := e.Set(line); err != nil {
			return err
		}
	}
	e.env = true
	return nil
}

// named is NAME=VALUE.
type named struct{ name, value string }

func parseNamed(s string) (named, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok || len(name) != 1 || name[0] < 'a' || name[0] > 'z' || value == "" {
		return named{}, fmt.Errorf("want a host's letter, = and a text, such as b=true")
	}
	return named{name, value}, nil
}

// unique makes a map of names that may stand once.
func unique(flag string, list []named) (map[string]string, error) {
	m := map[string]string{}
	for _, n := range list {
		if _, twice := m[n.name]; twice {
			return nil, usage("", "--%s: host %s is given twice", flag, n.name)
		}
		m[n.name] = n.value
	}
	return m, nil
}

// findLink returns the profile of that name, or of a file, which has a slash or
// a dot in its name.
func (a *app) findLink(s string) (link.Profile, error) {
	if !strings.ContainsAny(s, `./\`) {
		p, err := link.Find(s)
		if err != nil {
			return p, usage("ropeway lab profiles shows what they are; ./FILE names a file", "%v", err)
		}
		return p, nil
	}
	name := s
	if !filepath.IsAbs(name) {
		name = filepath.Join(a.env.Dir, name)
	}
	text, err := readFile(name, 64<<10)
	if err != nil {
		return link.Profile{}, usage("", "link file: %v", err)
	}
	p, err := link.Parse(text)
	if err != nil {
		return p, usage("docs/lab.md describes the file", "%s: %v", s, err)
	}
	return p, nil
}

// readFile reads a file of at most so many bytes.
func readFile(name string, most int64) ([]byte, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > most {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", name, most)
	}
	return os.ReadFile(name)
}

type jsonProfile struct {
	jsonHead
	Profile link.Profile `json:"profile"`
}

func (a *app) labProfilesVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:     "profiles [flags] [PROFILE|FILE.toml]",
		Short:   "List the links that have names, and what they are",
		Example: "  ropeway lab profiles\n  ropeway lab profiles --json ./branch.toml",
		Args:    operands(0, 1, ""),
		RunE: func(_ *cobra.Command, args []string) error {
			a.ran = true
			list := link.Profiles()
			if len(args) > 0 {
				p, err := a.findLink(args[0])
				if err != nil {
					return err
				}
				list = []link.Profile{p}
			}
			for _, p := range list {
				if asJSON {
					fmt.Fprint(a.stdout, string(jsonLine(jsonProfile{head("profile"), p})))
					continue
				}
				fmt.Fprint(a.stdout, profileText(p))
			}
			return nil
		},
	}
	return part(a.define(cmd, func(f *flags) { f.on(&asJSON, "json", "", "print JSON lines (docs/json.md)") }))
}

// profileText describes a link in a few lines.
func profileText(p link.Profile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", printable(p.Name), printable(p.About))
	if p.AB == p.BA {
		fmt.Fprintf(&b, "  both    %s\n", paramsText(p.AB))
	} else {
		fmt.Fprintf(&b, "  a to b  %s\n  b to a  %s\n", paramsText(p.AB), paramsText(p.BA))
	}
	how := "silently"
	if p.FlowReset {
		how = "by RST"
	}
	if p.FlowAge > 0 {
		fmt.Fprintf(&b, "  flows   cut %s after %s\n", how, p.FlowAge)
	}
	if p.FlowBytes > 0 {
		fmt.Fprintf(&b, "  flows   cut %s after %s bytes\n", how, commas(p.FlowBytes))
	}
	for _, e := range p.Events {
		fmt.Fprintf(&b, "  event   %s\n", e)
	}
	return b.String()
}

func paramsText(p link.Params) string {
	if s := p.String(); s != "" {
		return strings.ReplaceAll(s, ",", " ")
	}
	return "perfect"
}
