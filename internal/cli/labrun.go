package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/link"
)

const labRunLong = `Run commands on the hosts of a weak network, each by 'sh -c'. Host a is usually
the server: its command is started first, the others when it listens (after
2 s at the latest), and it is ended when they have ended. Without a command for
host b you get a shell there. The network and everything on it is gone at the
end; the exit code is that of b's command.

In the environment of the commands: A, B, ... are the addresses of the hosts,
ROPEWAY_LAB_SELF is the host's own and ROPEWAY_LAB_PEER the other's, and
ROPEWAY_LAB is the number for 'ropeway lab set'.`

const labRunExample = `  ropeway lab run --profile=qa-vpn
  ropeway lab run --profile=bad-vpn --host a='nginx -c /etc/q.conf' --host b='wget http://$A/f'
  ropeway lab run --host b='ping -c 3 $A' --event='set:loss=50%' --json`

func (a *app) labRunVerb() *cobra.Command {
	var o LabOptions
	var name string
	var hosts, pcap []named
	asJSON := false
	cmd := &cobra.Command{
		Use:     "run [flags]",
		Short:   "Run commands on the hosts of a weak network",
		Long:    labRunLong,
		Example: labRunExample,
		Args:    operands(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Profile, err = a.findLink(name); err != nil {
				return err
			}
			if o.Commands, err = unique("host", hosts); err != nil {
				return err
			}
			if o.Pcap, err = unique("pcap", pcap); err != nil {
				return err
			}
			return a.labRun(cmd.Context(), o, asJSON)
		},
	}
	return part(a.define(cmd, func(f *flags) {
		f.group = "The link"
		parsed(f, &name, notEmpty, "profile", "", "PROFILE", "clean", "a name, or a TOML file")
		f.add(&each[link.Event]{list: &o.Events, typ: "EVENT", parse: link.ParseEvent}, "event", "", "something that happens to it; several times")
		parsed(f, &o.Seed, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) },
			"seed", "", "NUM", "1", "of its chance")
		f.group = "The hosts"
		f.add(&each[named]{list: &hosts, typ: "HOST=CMD", parse: parseNamed}, "host", "", "what runs on host a, b, ...; once for each")
		parsed(f, &o.Hosts, parseHosts, "hosts", "", "NUM", "2", "how many there are, 2 to 26; each pair has a link of its own")
		parsed(f, &o.CC, notEmpty, "cc", "", "NAME", "", "TCP congestion control: cubic, bbr; otherwise the system's")
		parsed(f, &o.Timeout, parseDuration, "timeout", "", "TIME", "10m", "end everything after so long")
		f.group = "What is printed"
		f.add(&each[named]{list: &pcap, typ: "HOST=FILE", parse: parseNamed}, "pcap", "", "capture what a host sends and receives")
		f.on(&asJSON, "json", "", "print JSON lines (docs/json.md)")
	}))
}

func parseHosts(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 2 || n > 26 {
		return 0, errors.New("want a number from 2 to 26")
	}
	return n, nil
}

// labRun checks what the flags say together, and runs the lab.
func (a *app) labRun(ctx context.Context, o LabOptions, asJSON bool) error {
	if o.Timeout <= 0 {
		return usage("", "lab run: --timeout must be more than 0")
	}
	for _, list := range []map[string]string{o.Commands, o.Pcap} {
		for name := range list {
			if int(name[0]-'a') >= o.Hosts {
				return usage("--hosts makes more", "lab run: no host %s: there are %d", name, o.Hosts)
			}
		}
	}
	for name, file := range o.Pcap {
		if !filepath.IsAbs(file) {
			o.Pcap[name] = filepath.Join(a.env.Dir, file)
		}
	}
	_, forB := o.Commands["b"]
	if !forB && (o.Hosts == 2 || len(o.Commands) == 0) {
		if asJSON || a.env.IsTerminal == nil || !a.env.IsTerminal(a.env.Stdin) {
			return usage("for example: --host b='ping -c 3 $A'", "lab run: host b has no command, and this is no terminal for a shell")
		}
		o.Shell = true
	}
	o.Again = Again{Args: a.args, Stdin: a.env.Stdin, Stdout: a.env.Stdout, Stderr: a.env.Stderr}

	p := &labPrinter{a: a, json: asJSON}
	var end LabEnd
	err := a.call(ctx, func(ctx context.Context) (err error) {
		end, err = a.env.Engine.LabRun(ctx, o, LabHooks{Line: p.line, Note: p.note})
		return err
	})
	if end.Relayed {
		return &exitStatus{code: end.Exit, printed: true}
	}
	if end.Exits != nil {
		p.end(o, end)
	}
	if err = a.verdict(ctx, err); err != nil {
		if fault.ClassOf(err) == fault.Interrupted || fault.ClassOf(err) == fault.Terminated {
			return fault.New(fault.ClassOf(err), "", "the lab was stopped; nothing of it is left")
		}
		return err
	}
	if end.Exit != 0 {
		return &exitStatus{code: end.Exit}
	}
	return nil
}

// askedToEnd is the exit code of a server that was ended by SIGTERM, as it
// should.
const askedToEnd = 128 + 15

// labPrinter prints what happens in a lab. Safe for concurrent use.
type labPrinter struct {
	a    *app
	json bool
	mu   sync.Mutex
}

func (p *labPrinter) line(host, stream string, line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.ToValidUTF8(string(line), "\uFFFD")
	switch {
	case p.json:
		_, _ = p.a.stdout.Write(jsonLine(jsonOutput{head("output"), host, stream, text}))
	case stream == "stderr":
		fmt.Fprintf(p.a.stderr, "%s| %s\n", host, text)
	default:
		fmt.Fprintf(p.a.stdout, "%s| %s\n", host, text)
	}
}

func (p *labPrinter) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		_, _ = p.a.stdout.Write(jsonLine(jsonNote{head("note"), text}))
		return
	}
	fmt.Fprintf(p.a.stderr, "lab: %s\n", printable(text))
}

func (p *labPrinter) end(o LabOptions, e LabEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		_, _ = p.a.stdout.Write(jsonLine(newJSONLab(&e.Status, o.Seed, e.Exits)))
		return
	}
	fmt.Fprint(p.a.stderr, labText(&e.Status))
	for _, host := range sortedKeys(e.Exits) {
		if code := e.Exits[host]; code != 0 && (host != "a" || code != askedToEnd) {
			fmt.Fprintf(p.a.stderr, "lab: host %s ended with exit code %d\n", host, code)
		}
	}
}

// lasted is a time in a lab, in seconds.
func lasted(sec float64) string {
	return time.Duration(sec * float64(time.Second)).Round(10 * time.Millisecond).String()
}
