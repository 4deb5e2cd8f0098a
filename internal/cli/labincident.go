package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/lab/trial"
)

// TrialEngine is the part of Engine that tries tools on weak networks.
type TrialEngine interface {
	// LabIncident replays the incident. relayed: the program ran itself again,
	// which has printed everything and ended with exit.
	LabIncident(ctx context.Context, o trial.IncidentOptions, again Again) (relayed bool, exit int, err error)
	// LabBench measures a campaign. What it has is returned also with an error.
	LabBench(ctx context.Context, o trial.BenchOptions, again Again) (b *report.Bench, relayed bool, exit int, err error)
}

const labIncidentLong = `Show how the real rsync fails on a weak network, and what ropeway does under the
very same events: two hosts, a link of 40 Mbit/s and 30 ms that loses nothing,
the 60,606,801-byte file, and in the middle of it one event. For each scene:
the event, the commands, what client and daemon really said, why it happened,
and the same with ropeway.

  reset     104 and code 12
  hang      no end at all
  code30    a push with --timeout=60
  log110    the daemon logs 110, the client hangs on
  timeout   a pull with --timeout=60 that does not end
  stale     a finished file that an old partial replaces, long after

Waits that take hours by nature are made short by settings of the hosts'
kernels, which are said. The exit code is 0 only if ropeway survived all.
Needs rsync, and what 'ropeway lab run' needs.`

const labIncidentExample = `  ropeway lab incident
  ropeway lab incident --quick --scenes=reset,hang
  ropeway lab incident --json > incident.jsonl`

func (a *app) labIncidentVerb() *cobra.Command {
	var o trial.IncidentOptions
	keep, asJSON := "", false
	cmd := &cobra.Command{
		Use:     "incident [flags]",
		Short:   "Show how rsync fails on a weak network, and ropeway beside it",
		Long:    labIncidentLong,
		Example: labIncidentExample,
		Args:    operands(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep != "" {
				o.Dir, o.Keep = a.absolute(keep), true
			}
			return a.labIncident(cmd.Context(), o, asJSON)
		},
	}
	return part(a.define(cmd, func(f *flags) {
		f.group = "What is shown"
		f.on(&o.Quick, "quick", "", "timeouts of 15 s instead of 60 s, shorter waits: 2 min instead of 4")
		parsed(f, &o.Scenes, parseNames, "scenes", "", "LIST", "", "only these, with commas between")
		f.on(&asJSON, "json", "", "print JSON lines (docs/json.md)")
		f.group = "Where"
		parsed(f, &keep, notEmpty, "keep", "", "DIR", "", "work in a new directory in DIR, and leave it")
	}))
}

// parseNames reads words with commas between.
func parseNames(s string) (list []string, err error) {
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("want names with commas between")
	}
	return list, nil
}

// absolute is a file name of the command line.
func (a *app) absolute(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(a.env.Dir, name)
}

type jsonScene struct {
	jsonHead
	trial.Scene
}

func (a *app) labIncident(ctx context.Context, o trial.IncidentOptions, asJSON bool) error {
	w := &waiting{a: a, verb: "lab incident", every: 15 * time.Second}
	var shown []trial.Scene
	o.Progress = func(p trial.Progress) {
		w.show(fmt.Sprintf("%d of %d takes done; now: %s", p.Done, p.Total, p.Now))
	}
	o.Show = func(s trial.Scene) {
		w.clear()
		shown = append(shown, s)
		if asJSON {
			_, _ = a.stdout.Write(jsonLine(jsonScene{head("scene"), s}))
			return
		}
		_, _ = a.stdout.Write([]byte(sceneText(len(shown), s)))
	}
	var relayed bool
	var exit int
	err := a.call(ctx, func(ctx context.Context) (err error) {
		relayed, exit, err = a.env.Engine.LabIncident(ctx, o, a.again())
		return err
	})
	if relayed {
		return &exitStatus{code: exit, printed: true}
	}
	w.clear()
	if !asJSON && len(shown) > 0 {
		_, _ = a.stdout.Write([]byte(incidentSummary(shown)))
	}
	return a.verdict(ctx, err)
}

// again is how this program runs itself once more.
func (a *app) again() Again {
	return Again{Args: a.args, Stdin: a.env.Stdin, Stdout: a.env.Stdout, Stderr: a.env.Stderr}
}

// sceneText is a scene for people.
func sceneText(n int, s trial.Scene) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n=== %d. %s (--scenes=%s)\n\n", n, s.Title, s.Key)
	fmt.Fprintf(&b, "link     %s\nevent    %s\n", s.Link, s.Event)
	for _, x := range s.Settings {
		wrapped(&b, "setting  ", x)
	}
	b.WriteString("\n--- rsync\n")
	takeText(&b, &s.Rsync)
	if !s.Shown {
		b.WriteString("note     this rsync did not fail here in the way of the title\n")
	}
	for _, x := range s.Why {
		wrapped(&b, "why      ", x)
	}
	b.WriteString("\n--- ropeway, under the same event\n")
	takeText(&b, &s.Ropeway)
	return b.String()
}

func takeText(b *strings.Builder, t *trial.Take) {
	for _, c := range t.Commands {
		fmt.Fprintf(b, "%s\n", printable(c))
	}
	for _, l := range t.Transcript {
		fmt.Fprintf(b, "%6.1f s  %-6s  %s\n", l.At, l.Who, printable(l.Text))
	}
	for _, l := range t.Left {
		fmt.Fprintf(b, "left     %s\n", printable(l))
	}
	fmt.Fprintf(b, "result   %s\n", t.Result)
}

// wrapped writes a text in lines with a margin.
func wrapped(b *strings.Builder, margin, text string) {
	at := len(margin)
	b.WriteString(margin)
	for i, word := range strings.Fields(text) {
		switch {
		case i > 0 && at+1+len(word) > helpWidth:
			fmt.Fprintf(b, "\n%*s%s", len(margin), "", word)
			at = len(margin) + len(word)
		case i > 0:
			b.WriteString(" " + word)
			at += 1 + len(word)
		default:
			b.WriteString(word)
			at += len(word)
		}
	}
	b.WriteByte('\n')
}

// incidentSummary is a line for each scene.
func incidentSummary(list []trial.Scene) string {
	var b strings.Builder
	b.WriteString("\n=== In short\n\n")
	for _, s := range list {
		fmt.Fprintf(&b, "%-8s  rsync    %s\n%-8s  ropeway  %s\n", s.Key, s.Rsync.Result, "", s.Ropeway.Result)
	}
	return b.String()
}

// waiting tells on standard error what is waited for: on a terminal in one
// line that changes, otherwise in lines, not too many.
type waiting struct {
	a     *app
	verb  string
	every time.Duration // between lines; 0: each
	mu    sync.Mutex
	last  time.Time
	drawn bool
}

func (w *waiting) show(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.a.stderrTTY && w.a.env.Getenv("TERM") != "dumb" {
		if width := w.a.env.Width(); width > 10 && len(text) > width-2 {
			text = text[:width-2]
		}
		fmt.Fprintf(w.a.stderr, "\r\033[K%s", printable(text))
		w.drawn = true
		return
	}
	if now := time.Now(); now.Sub(w.last) >= w.every {
		w.last = now
		fmt.Fprintf(w.a.stderr, "%s: %s\n", w.verb, printable(text))
	}
}

// clear makes room for other text.
func (w *waiting) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drawn {
		fmt.Fprint(w.a.stderr, "\r\033[K")
		w.drawn = false
	}
}
