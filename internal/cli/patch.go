package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/event"
)

// PatchOptions is what `ropeway patch make` or `ropeway diff` was asked to do,
// validated.
type PatchOptions struct {
	Old, New string // files or directories, as given
	Dir      string // relative paths start here
	Out      string // file to write; "" writes nothing
	NoTimes  bool   // modification times are no part of it
}

// ApplyOptions is what `ropeway patch apply` was asked to do, validated.
type ApplyOptions struct {
	Old   string // file or directory, as given
	Patch string // file; "-" is Stdin
	Dest  string // what to make; "" verifies only
	Dir   string
	Stdin io.Reader
}

// Difference tells what a patch is made of.
type Difference struct {
	OldFiles, NewFiles int64
	OldBytes, NewBytes int64 // of all files
	Patch              int64 // bytes
	Listing            int64 // of these: names, attributes, tables
	Windows            int64
	Deleted            int64 // entries
	Attributes         int64 // entries of which only attributes differ
	Skipped            int64 // devices and the like, which are no part of it
	Tree               string
	Content            []FileDifference
}

// FileDifference tells what became of a file's content.
type FileDifference struct {
	Path    string
	Method  string // one of docs/json.md
	From    string // another path that has the content
	Size    int64
	Cost    int64 // bytes of the patch
	Literal int64 // bytes that nothing old explains
}

// Applied tells what a patch made.
type Applied struct {
	Files, Dirs, Symlinks int64
	Bytes                 int64 // of all files
	Made                  int64 // bytes of files that the patch made; the rest was copied
	Tree                  string
}

const patchLong = `Carry what differs between two versions by any means: make writes a patch file,
apply makes the new version of the old one and the patch file.

OLD and NEW are both files or both directories. A patch of a directory covers
names, content, symlinks, permissions and times, not owners. It names no content
by place alone: applied to anything but what it was made from, it fails and
nothing is changed.`

const patchExample = `  ropeway patch make app-1.4.jar app-1.5.jar -o app.patch
  ropeway patch apply app-1.4.jar app.patch -o app-1.5.jar
  ropeway patch apply -n ./release-1.4 release.patch   only verify`

func (a *app) patchVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "patch",
		Short:   "Write what differs between two versions to a file, and apply it",
		Long:    patchLong,
		Example: patchExample,
		GroupID: groupMain,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return usage(cmd.CommandPath()+" --help", "patch: needs make or apply")
		},
	}
	cmd.AddGroup(&cobra.Group{ID: groupMain, Title: "Verbs"})
	cmd.AddCommand(a.patchMake(), a.patchApply())
	return cmd
}

const makeExample = `  ropeway patch make app-1.4.jar app-1.5.jar -o app.patch
  ropeway patch make --no-times ./release-1.4 ./release-1.5 -o release.patch
  ropeway patch make -n ./release-1.4 ./release-1.5   how large would it be?`

func (a *app) patchMake() *cobra.Command {
	var o PatchOptions
	var show showOptions
	dry := false
	cmd := &cobra.Command{
		Use:     "make [flags] OLD NEW -o FILE",
		Short:   "Write a patch that makes NEW of OLD",
		Example: makeExample,
		Args:    operands(2, 2, "OLD and NEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Old, o.New, o.Dir = args[0], args[1], a.env.Dir
			switch {
			case dry:
				o.Out = ""
			case o.Out == "":
				return usage(cmd.CommandPath()+" --help", "patch make: needs -o FILE")
			}
			return a.patched(cmd.Context(), o, show, dry)
		},
	}
	return a.define(cmd, func(f *flags) {
		text(f, &o.Out, "output", "o", "FILE", "the patch file to write; it appears when it is whole")
		f.on(&dry, "dry-run", "n", "write nothing, tell how large it would be")
		f.on(&o.NoTimes, "no-times", "", "leave modification times out: smaller where all files were written anew")
		patchOutput(f, &show)
	})
}

const applyExample = `  ropeway patch apply app-1.4.jar app.patch -o app-1.5.jar
  curl -s https://host/release.patch | ropeway patch apply ./release-1.4 - -o ./release-1.5`

func (a *app) patchApply() *cobra.Command {
	var o ApplyOptions
	var show showOptions
	dry := false
	cmd := &cobra.Command{
		Use:     "apply [flags] OLD FILE -o NEW",
		Short:   "Make NEW of OLD and a patch",
		Example: applyExample,
		Args:    operands(2, 2, "OLD and a patch file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Old, o.Patch, o.Dir, o.Stdin = args[0], args[1], a.env.Dir, a.env.Stdin
			switch {
			case dry:
				o.Dest = ""
			case o.Dest == "":
				return usage(cmd.CommandPath()+" --help", "patch apply: needs -o NEW, or -n to verify only")
			}
			return a.apply(cmd.Context(), o, show, dry)
		},
	}
	return a.define(cmd, func(f *flags) {
		text(f, &o.Dest, "output", "o", "NEW", "what to make; it appears when it is whole and verified")
		f.on(&dry, "dry-run", "n", "make nothing, only verify")
		patchOutput(f, &show)
	})
}

func patchOutput(f *flags, show *showOptions) {
	f.on(&show.quiet, "quiet", "q", "print nothing but what went wrong")
	f.on(&show.progress, "progress", "P", "print a status line every 10 s where there is no terminal")
	f.on(&show.human, "human-readable", "h", "print sizes as 1.23 MB")
	f.on(&show.json, "json", "", "print JSON lines (docs/json.md)")
}

// text adds a flag that takes any text but none.
func text(f *flags, p *string, name, short, typ, help string) {
	parsed(f, p, func(s string) (string, error) { return s, nil }, name, short, typ, "", help)
}

// patched makes a patch and says what came of it.
func (a *app) patched(ctx context.Context, o PatchOptions, show showOptions, dry bool) error {
	var d *Difference
	err := a.report(ctx, show, func(ctx context.Context, report event.Func) (err error) {
		d, err = a.env.Engine.MakePatch(ctx, o, report)
		return err
	})
	if err != nil || d == nil {
		return err
	}
	size := sizes(show.human)
	switch {
	case show.json:
		return a.print(string(jsonLine(newJSONDifference(d, o.Out, 0))))
	case show.quiet:
		return nil
	case dry:
		return a.print("the patch would take " + share(d, size) + "\n")
	}
	return a.print(printable(o.Out) + ": " + share(d, size) + "\n")
}

func (a *app) apply(ctx context.Context, o ApplyOptions, show showOptions, dry bool) error {
	var r *Applied
	err := a.report(ctx, show, func(ctx context.Context, report event.Func) (err error) {
		r, err = a.env.Engine.ApplyPatch(ctx, o, report)
		return err
	})
	if err != nil || r == nil {
		return err
	}
	size := sizes(show.human)
	switch {
	case show.json:
		return a.print(string(jsonLine(jsonApplied{
			head("applied"), o.Dest, r.Files, r.Dirs, r.Symlinks, r.Bytes, r.Made, r.Tree,
		})))
	case show.quiet:
		return nil
	}
	what := plural(r.Files, "file", "files") + " of " + size(r.Bytes) + " in all, " + size(r.Made) + " of it made by the patch, all verified"
	if dry {
		return a.print("the patch applies: " + what + "\n")
	}
	return a.print(printable(o.Dest) + ": " + what + "\n")
}

type jsonApplied struct {
	jsonHead
	Output   string `json:"output,omitempty"`
	Files    int64  `json:"files"`
	Dirs     int64  `json:"dirs"`
	Symlinks int64  `json:"symlinks"`
	Bytes    int64  `json:"bytes"`
	Made     int64  `json:"made"`
	Tree     string `json:"tree"`
}
