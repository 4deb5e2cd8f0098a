package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/lab/trial"
)

const labBenchLong = `Measure tools that move files on weak networks, ropeway among them: rsync with
and without --timeout=60, wget, curl, aria2c, rclone, as they are installed.
Those that are missing are named.

  sweep     one file over one link with growing loss, hosts with cubic or bbr
  profile   the file over links by name ('ropeway lab profiles')
  files     trees of small files, an upgrade
  timeline  bytes against time through an outage
  event     one event in the middle of a transfer: who survives it, and how

Every run is bounded. Files must be identical (SHA-256), or the run counts as
damaged. The machine should have nothing else to do: the report says how many
packets it forwarded late.

With --json FILE each result is written to FILE as soon as it is there, and
the same command continues a campaign that was stopped.`

const labBenchExample = `  ropeway lab bench --html report.html
  ropeway lab bench --full --json full.json --html full.html
  ropeway lab bench --tools=ropeway,rsync --profiles=awful --sets=profile --rounds=3`

// benchFlags is what the verb was asked for beside what a campaign is.
type benchFlags struct {
	json, html string // files; "-" is standard output
	quick      bool
}

func (a *app) labBenchVerb() *cobra.Command {
	var o trial.BenchOptions
	var b benchFlags
	keep := ""
	cmd := &cobra.Command{
		Use:     "bench [flags]",
		Short:   "Measure tools on weak networks",
		Long:    labBenchLong,
		Example: labBenchExample,
		Args:    operands(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// --json names a file here: how the verb ends is said in words.
			a.exitPrinted = true
			if o.Full && b.quick {
				return usage("leave one of them out", "lab bench: --quick and --full")
			}
			if keep != "" {
				o.Dir, o.Keep = a.absolute(keep), true
			}
			if o.Dir != "" {
				o.Dir = a.absolute(o.Dir)
			}
			if o.Rounds == 0 {
				if o.Rounds = 1; o.Full {
					o.Rounds = 3
				}
			}
			o.Command = "ropeway " + strings.Join(a.args, " ")
			return a.labBench(cmd.Context(), o, b)
		},
	}
	return part(a.define(cmd, func(f *flags) {
		f.group = "What is measured"
		f.on(&b.quick, "quick", "", "what fits into 10 minutes: the default")
		f.on(&o.Full, "full", "", "all there is: about two hours")
		parsed(f, &o.Tools, parseNames, "tools", "", "LIST", "", "only these: ropeway, rsync, rsync-T60, wget, ...")
		parsed(f, &o.Profiles, parseNames, "profiles", "", "LIST", "", "links by name, instead of the usual ones")
		parsed(f, &o.Sets, parseSets, "sets", "", "LIST", "", "only these: sweep, profile, files, timeline, event")
		parsed(f, &o.Rounds, parseRounds, "rounds", "", "NUM", "0", "of each; 0 is 1, with --full 3. What had to be stopped is not repeated")
		parsed(f, &o.Limit, parseDuration, "limit", "", "TIME", "0", "stop after so long, between two runs; with --json the same command continues")
		f.group = "Where it goes"
		parsed(f, &b.json, parseOut, "json", "", "FILE", "", "write the results as JSON; - is standard output")
		parsed(f, &b.html, notEmpty, "html", "", "FILE", "", "write one page with plots, which needs nothing else")
		parsed(f, &o.Dir, notEmpty, "dir", "", "DIR", "", "put the files that are moved there: 1 GiB, with --full 3 GiB")
		parsed(f, &keep, notEmpty, "keep", "", "DIR", "", "the same, and leave them, with all logs")
	}))
}

// parseOut is a file; the value of a switch, as it may come from the
// environment, is standard output.
func parseOut(s string) (string, error) {
	if truthy(s) {
		return "-", nil
	}
	return notEmpty(s)
}

func parseRounds(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 25 {
		return 0, errors.New("want a number from 1 to 25")
	}
	return n, nil
}

func parseSets(s string) ([]string, error) {
	list, err := parseNames(s)
	if err != nil {
		return nil, err
	}
	all := oneOf(string(report.Sweep), string(report.Profile), string(report.Files), string(report.Timeline), string(report.Events))
	for _, word := range list {
		if _, err := all(word); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (a *app) labBench(ctx context.Context, o trial.BenchOptions, b benchFlags) (err error) {
	if b.json != "" && b.json != "-" {
		b.json = a.absolute(b.json)
		if o.Done, err = earlier(b.json); err != nil {
			return err
		}
		o.Save = func(r *report.Bench) error { return writeReport(b.json, r.Encode) }
	}
	w := &waiting{a: a, verb: "lab bench"}
	o.Progress = func(p trial.Progress) {
		w.show(fmt.Sprintf("%d of %d, about %s left: %s", p.Done, p.Total, p.Left.Round(time.Minute), p.Now))
	}
	var result *report.Bench
	var relayed bool
	var exit int
	failed := a.call(ctx, func(ctx context.Context) (err error) {
		result, relayed, exit, err = a.env.Engine.LabBench(ctx, o, a.again())
		return err
	})
	if relayed {
		return &exitStatus{code: exit, printed: true}
	}
	w.clear()
	if result != nil && len(result.Cells) > 0 {
		err = a.putReport(result, b)
	}
	if failed = a.verdict(ctx, failed); failed != nil {
		return failed
	}
	return err
}

// putReport writes the campaign to where it was asked for.
func (a *app) putReport(r *report.Bench, b benchFlags) error {
	switch b.json {
	case "":
	case "-":
		if err := r.Encode(a.stdout); err != nil {
			return fault.Wrap(fault.Other, err, "", "cannot write the output")
		}
	default:
		if err := writeReport(b.json, r.Encode); err != nil {
			return err
		}
	}
	if b.html != "" {
		if err := writeReport(a.absolute(b.html), r.HTML); err != nil {
			return err
		}
	}
	if b.json != "-" {
		if err := r.Table(a.stdout); err != nil {
			return fault.Wrap(fault.Other, err, "", "cannot write the output")
		}
	}
	return nil
}

// earlier reads a campaign that may be continued; nil if there is none.
func earlier(name string) (*report.Bench, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(fault.Other, err, "", "lab bench: --json")
	}
	defer f.Close()
	b, err := report.Decode(f)
	if err != nil {
		return nil, fault.Wrap(fault.ClassOf(err), err, "name another file: this one would be overwritten", "%s", name)
	}
	return b, nil
}

// writeReport replaces a file, so that it is never half written.
func writeReport(name string, write func(io.Writer) error) error {
	var text bytes.Buffer
	err := write(&text)
	if err == nil {
		temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
		if err = os.WriteFile(temp, text.Bytes(), 0o644); err == nil {
			err = os.Rename(temp, name)
		}
	}
	if err != nil {
		return fault.Wrap(fault.Other, err, "", "the report cannot be written")
	}
	return nil
}
