package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

const diffLong = `Tell what bringing B to a host that holds A costs, in bytes and in time: what is
the same, what was moved or copied, what is patched in which way, and what is
new. A and B are both files or both directories. Nothing is written.

The methods, from cheap to dear
  same         nothing is to do
  moved        A has the content under another path; costs the path
  copied       the same, and the other one stays
  container    an archive or ELF file was opened, its parts patched
  bytes        a difference of bytes
  dictionary   compressed, with A's bytes as dictionary
  whole        nothing of A was of use`

const diffExample = `  ropeway diff app-1.4.jar app-1.5.jar
  ropeway diff --rate=1.5M ./release-1.4 ./release-1.5
  ropeway diff --json a b | jq -r 'select(.type=="content" and .cost>100000) | .path'`

// listedFiles is how many files diff names unless it is asked for all.
const listedFiles = 20

func (a *app) diffVerb() *cobra.Command {
	var o PatchOptions
	var show showOptions
	rate, all := int64(0), false
	cmd := &cobra.Command{
		Use:     "diff [flags] A B",
		Short:   "Tell what a change costs in bytes, by file and method",
		Long:    diffLong,
		Example: diffExample,
		Args:    operands(2, 2, "A and B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Old, o.New, o.Dir = args[0], args[1], a.env.Dir
			return a.diff(cmd.Context(), o, show, rate, all)
		},
	}
	return a.define(cmd, func(f *flags) {
		parsed(f, &rate, parseRate, "rate", "", "RATE", "10M", "of the link: bytes per second, KiB or with a suffix K, M, G")
		f.on(&all, "all", "a", "name all files that cost something, not only the 20 dearest")
		f.on(&o.NoTimes, "no-times", "", "leave modification times out")
		patchOutput(f, &show)
	})
}

func (a *app) diff(ctx context.Context, o PatchOptions, show showOptions, rate int64, all bool) error {
	var d *Difference
	err := a.report(ctx, show, func(ctx context.Context, report event.Func) (err error) {
		d, err = a.env.Engine.MakePatch(ctx, o, report)
		return err
	})
	if err != nil || d == nil {
		return err
	}
	if show.json {
		var b strings.Builder
		for _, c := range d.Content {
			line := jsonContent{jsonHead: head("content"), jsonPath: newJSONPath(c.Path), Method: c.Method, Size: c.Size, Cost: c.Cost, Literal: c.Literal}
			line.From, line.FromB64 = encodeName(c.From)
			b.Write(jsonLine(line))
		}
		b.Write(jsonLine(newJSONDifference(d, "", rate)))
		return a.print(b.String())
	}
	if show.quiet {
		return nil
	}
	return a.print(diffText(d, sizes(show.human), rate, all))
}

// print writes a result.
func (a *app) print(text string) error {
	if _, err := io.WriteString(a.stdout, text); err != nil {
		return fault.Wrap(fault.Other, err, "", "cannot write the output")
	}
	return nil
}

// sizes returns how sizes are printed.
func sizes(humans bool) func(int64) string {
	if humans {
		return human
	}
	return func(n int64) string { return commas(n) + " bytes" }
}

// methods in the order of a table.
func methods() []string {
	return []string{"same", "moved", "copied", "container", "bytes", "dictionary", "whole"}
}

// diffText explains a difference.
func diffText(d *Difference, size func(int64) string, rate int64, all bool) string {
	var b strings.Builder
	if files := dearest(d, all); len(files) > 0 {
		for _, c := range files {
			name := printable(c.Path)
			if c.From != "" {
				name += " (from " + printable(c.From) + ")"
			}
			fmt.Fprintf(&b, "%14s of %14s  %-10s  %s\n", commas(c.Cost), commas(c.Size), c.Method, name)
		}
		if more := costly(d) - len(files); more > 0 {
			fmt.Fprintf(&b, "%14s and %s, which --all names\n", "", plural(int64(more), "more file", "more files"))
		}
		b.WriteByte('\n')
	}
	type row struct{ files, bytes, cost, literal int64 }
	rows := map[string]*row{}
	for _, c := range d.Content {
		r := rows[c.Method]
		if r == nil {
			r = &row{}
			rows[c.Method] = r
		}
		r.files, r.bytes, r.cost, r.literal = r.files+1, r.bytes+c.Size, r.cost+c.Cost, r.literal+c.Literal
	}
	fmt.Fprintf(&b, "%-12s %9s %18s %16s %16s\n", "method", "files", "bytes", "of these new", "cost")
	for _, m := range methods() {
		if r := rows[m]; r != nil {
			fmt.Fprintf(&b, "%-12s %9s %18s %16s %16s\n", m, commas(r.files), commas(r.bytes), commas(r.literal), commas(r.cost))
		}
	}
	fmt.Fprintf(&b, "%-12s %9s %18s %16s %16s\n", "names", "", "", "", commas(d.Listing))
	fmt.Fprintf(&b, "%-12s %9s %18s %16s %16s\n\n", "all", commas(d.NewFiles), commas(d.NewBytes), "", commas(d.Patch))
	var also []string
	for _, x := range []struct {
		n         int64
		one, many string
	}{
		{d.Deleted, "entry deleted", "entries deleted"},
		{d.Attributes, "entry with other attributes only", "entries with other attributes only"},
		{d.Skipped, "device or socket left out", "devices and sockets left out"},
	} {
		if x.n > 0 {
			also = append(also, plural(x.n, x.one, x.many))
		}
	}
	if len(also) > 0 {
		b.WriteString(strings.Join(also, ", ") + "\n")
	}
	b.WriteString("patch: " + share(d, size) + "\n")
	if rate > 0 {
		fmt.Fprintf(&b, "at %s/s: %s, and %s for all of it\n", human(rate), span(took(d.Patch, rate)), span(took(d.NewBytes, rate)))
	}
	return b.String()
}

// dearest returns the files that cost most, dearest first.
func dearest(d *Difference, all bool) []FileDifference {
	var list []FileDifference
	for _, c := range d.Content {
		if c.Cost > 0 {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b FileDifference) int { return cmp.Compare(b.Cost, a.Cost) })
	if !all {
		list = list[:min(len(list), listedFiles)]
	}
	return list
}

func costly(d *Difference) (n int) {
	for _, c := range d.Content {
		if c.Cost > 0 {
			n++
		}
	}
	return n
}

// share is the size of the patch beside that of the whole.
func share(d *Difference, size func(int64) string) string {
	s := size(d.Patch)
	if d.NewBytes > 0 {
		percent := 100 * float64(d.Patch) / float64(d.NewBytes)
		s += ", " + strconv.FormatFloat(percent, 'f', decimals(percent), 64) + " % of " + size(d.NewBytes)
	}
	return s
}

func decimals(percent float64) int {
	switch {
	case percent >= 9.95:
		return 0
	case percent >= 0.995:
		return 1
	}
	return 3
}

func took(bytes, rate int64) time.Duration {
	return time.Duration(min(float64(bytes)/float64(rate)*float64(time.Second), math.MaxInt64/2))
}

type jsonContent struct {
	jsonHead
	jsonPath
	Method  string `json:"method"`
	From    string `json:"from,omitempty"`
	FromB64 string `json:"from_b64,omitempty"`
	Size    int64  `json:"size"`
	Cost    int64  `json:"cost"`
	Literal int64  `json:"literal"`
}

type jsonDifference struct {
	jsonHead
	Output     string  `json:"output,omitempty"`
	OldFiles   int64   `json:"old_files"`
	NewFiles   int64   `json:"new_files"`
	OldBytes   int64   `json:"old_bytes"`
	NewBytes   int64   `json:"new_bytes"`
	Patch      int64   `json:"patch"`
	Listing    int64   `json:"listing"`
	Windows    int64   `json:"windows"`
	Deleted    int64   `json:"deleted"`
	Attributes int64   `json:"attributes"`
	Skipped    int64   `json:"skipped"`
	Tree       string  `json:"tree"`
	Rate       int64   `json:"rate,omitempty"`
	Seconds    float64 `json:"seconds,omitempty"`
	Whole      float64 `json:"seconds_whole,omitempty"`
}

func newJSONDifference(d *Difference, output string, rate int64) jsonDifference {
	j := jsonDifference{
		jsonHead: head("difference"), Output: output, OldFiles: d.OldFiles, NewFiles: d.NewFiles, OldBytes: d.OldBytes,
		NewBytes: d.NewBytes, Patch: d.Patch, Listing: d.Listing, Windows: d.Windows, Deleted: d.Deleted,
		Attributes: d.Attributes, Skipped: d.Skipped, Tree: d.Tree, Rate: rate,
	}
	if rate > 0 {
		j.Seconds, j.Whole = seconds(took(d.Patch, rate)), seconds(took(d.NewBytes, rate))
	}
	return j
}
