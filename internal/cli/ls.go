package cli

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/fault"
)

const lsExample = `  ropeway ls https://host/m/site/
  ropeway ls -rh https://host/m/site/docs/
  ropeway ls --json -r https://host/m/site/ | jq -r .path`

func (a *app) lsVerb() *cobra.Command {
	var o ListOptions
	human, asJSON := false, false
	cmd := &cobra.Command{
		Use:     "ls [flags] URL",
		Short:   "List what a server offers",
		Long:    "List what a server offers at a URL, or what a local directory holds.",
		Example: lsExample,
		Args:    operands(1, 1, "a URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.URL, o.Dir, o.Unattended = args[0], a.env.Dir, !a.stderrTTY
			return a.list(cmd.Context(), o, human, asJSON)
		},
	}
	return a.define(cmd, func(f *flags) {
		f.on(&o.Recursive, "recursive", "r", "go into directories")
		f.on(&human, "human-readable", "h", "print sizes as 1.23 MB")
		f.on(&asJSON, "json", "", "print JSON lines (docs/json.md)")
		parsed(f, &o.Timeout, parseDuration, "timeout", "", "TIME", "60s", "give up when nothing came for so long; 0 is for ever")
		parsed(f, &o.ConnectTimeout, parseDuration, "contimeout", "", "TIME", "60s", "give up when the address never answered for so long")
	})
}

type jsonEntry struct {
	jsonHead
	jsonPath
	Kind  string `json:"kind"`
	Mode  string `json:"mode"`
	Size  int64  `json:"size"`
	MTime string `json:"mtime,omitempty"`
	jsonTarget
}

func (a *app) list(ctx context.Context, o ListOptions, humanSizes, asJSON bool) error {
	size := commas
	if humanSizes {
		size = human
	}
	out := newOutput(a.stdout, a.stderr)
	err := a.call(ctx, func(ctx context.Context) error {
		return a.env.Engine.List(ctx, o, func(e ListEntry) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			out.wait()
			if asJSON {
				out.put(toStdout, string(jsonLine(jsonEntry{
					head("entry"), newJSONPath(e.Path), kindOf(e.Mode), fmt.Sprintf("%04o", unixMode(e.Mode)), e.Size,
					jsonTime(e.ModTime), newJSONTarget(e.Target),
				})))
				return nil
			}
			name := printable(e.Path)
			if e.Target != "" {
				name += " -> " + printable(e.Target)
			}
			out.put(toStdout, fmt.Sprintf("%s %14s %s %s\n", modeText(e.Mode), size(e.Size),
				e.ModTime.In(a.env.Location).Format("2006/01/02 15:04:05"), name))
			return nil
		})
	})
	err = a.verdict(ctx, err)
	defer a.hurry(ctx, out)()
	if lost := out.close(); err == nil && lost != nil {
		return fault.Wrap(fault.Other, lost, "", "cannot write the output")
	}
	return err
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "file"
	case m.IsDir():
		return "dir"
	case m&fs.ModeSymlink != 0:
		return "symlink"
	}
	return "other"
}

// unixMode is the permissions with setuid, setgid and sticky, as a number.
func unixMode(m fs.FileMode) uint32 {
	n := uint32(m.Perm())
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if m&bit != 0 {
			n |= 0o1000 << i
		}
	}
	return n
}

// modeText is ten letters, as ls -l prints them.
func modeText(m fs.FileMode) string {
	kind := map[string]string{"file": "-", "dir": "d", "symlink": "l"}[kindOf(m)]
	if kind == "" {
		kind = "?"
	}
	b := []byte(m.Perm().String()[1:])
	for _, s := range []struct {
		bit  fs.FileMode
		at   int
		with string
	}{{fs.ModeSetuid, 2, "sS"}, {fs.ModeSetgid, 5, "sS"}, {fs.ModeSticky, 8, "tT"}} {
		if m&s.bit == 0 {
			continue
		}
		if b[s.at] == 'x' {
			b[s.at] = s.with[0]
		} else {
			b[s.at] = s.with[1]
		}
	}
	return strings.Join([]string{kind, string(b)}, "")
}
