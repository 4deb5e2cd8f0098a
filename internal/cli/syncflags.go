package cli

import (
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// syncFlags is what the flags of sync fill.
type syncFlags struct {
	o        SyncOptions
	rules    rules
	kinds    bool // one of -a -r -l -p -t -g -o was given
	recurse  bool // -r itself was given
	off      []*bool
	deadline bool // was given
	keep     bool // --partial: what is always done
	bw       bandwidth
}

// addSyncFlags defines the flags of sync: rsync's names, letters and meanings
// where rsync has them.
func addSyncFlags(f *flags, s *syncFlags) {
	o := &s.o
	given := func() { s.kinds = true }

	f.group = "What is copied (without any of these: -a)"
	f.several(&many{to: true, seen: given, ps: []*bool{&o.Recursive, &o.Links, &o.Perms, &o.Times, &o.Group, &o.Owner}},
		"archive", "a", "same as -rlptgo")
	for _, k := range []struct {
		p                 *bool
		name, short, text string
	}{
		{&o.Recursive, "recursive", "r", "go into directories"},
		{&o.Links, "links", "l", "copy symlinks as symlinks"},
		{&o.Perms, "perms", "p", "keep permissions"},
		{&o.Times, "times", "t", "keep modification times"},
		{&o.Group, "group", "g", "keep the group"},
		{&o.Owner, "owner", "o", "keep the owner (super-user only)"},
	} {
		f.several(&many{to: true, seen: func() {
			s.kinds = true
			s.recurse = s.recurse || k.p == &o.Recursive
		}, ps: []*bool{k.p}}, k.name, k.short, k.text)
		f.off(&many{ps: []*bool{k.p}, seen: func() { s.off = append(s.off, k.p) }}, k.name, k.short)
	}
	parsed(f, &o.FilesFrom, notEmpty, "files-from", "", "FILE", "", "copy only the names in FILE (- is standard input)")
	f.on(&o.From0, "from0", "0", "names and rules in files end with a NUL, not a newline")

	f.group = "Filters, the first rule that matches wins (see: ropeway help filters)"
	for _, r := range []struct{ kind, text string }{
		{"exclude", "leave out what matches"},
		{"include", "keep what matches, whatever later rules say"},
		{"filter", "add a filter rule, such as '- *.o' or 'P /local'"},
		{"exclude-from", "read exclude patterns from a file"},
		{"include-from", "read include patterns from a file"},
	} {
		short := ""
		if r.kind == "filter" {
			short = "f"
		}
		f.add(&ruleValue{list: &s.rules, kind: r.kind}, r.kind, short, r.text)
	}

	f.group = "How it is done"
	f.on(&o.DryRun, "dry-run", "n", "change nothing, report the same")
	f.on(&o.Checksum, "checksum", "c", "read all content again instead of trusting the index")
	f.on(&o.WholeFile, "whole-file", "W", "send changed files whole, no deltas")
	f.off(&many{ps: []*bool{&o.WholeFile}, seen: func() { o.NoWholeFile = !o.WholeFile }}, "whole-file", "W")
	f.on(&o.MinBytes, "min-bytes", "", "send the fewest bytes, even where computing them takes longer")
	f.on(&o.Compress, "compress", "z", "compress what crosses the link")
	f.off(&many{ps: []*bool{&o.Compress}}, "compress", "z")
	f.on(&o.Delete, "delete", "", "delete what the source does not have")
	o.MaxDelete = -1
	parsed(f, &o.MaxDelete, parseMaxDelete, "max-delete", "", "NUM", "", "stop at more than NUM deletions")
	f.on(&o.Atomic, "atomic", "", "exchange the whole tree in one step")
	parsed(f, &o.Land, oneOf("early", "late"), "land", "", "WHEN", "late",
		"early: put each file in place once verified; late: all at the end")
	f.on(&o.Fsync, "fsync", "", "sync every file to disk by itself")
	parsed(f, &o.TempDir, notEmpty, "temp-dir", "T", "DIR", "", "stage in DIR, not in the destination")

	f.group = "Limits (times are seconds, or 90s, 15m, 1h30m; 0 is for ever)"
	parsed(f, &s.bw, parseBandwidth, "bwlimit", "", "RATE", "", "bytes per second: KiB, or with a suffix K, M, G; or a timetable: '08:00,512K 19:00,off'")
	f.on(&o.Nice, "nice", "", "give way to others on the link")
	f.add(&urlList{p: &o.Mirrors}, "mirror", "", "another way to the same server, or another server with the same content")
	parsed(f, &o.Timeout, parseDuration, "timeout", "", "TIME", "15m", "give up when no verified byte came for so long")
	parsed(f, &o.ConnectTimeout, parseDuration, "contimeout", "", "TIME", "60s", "give up when the address never answered for so long")
	parsed(f, &o.Deadline, func(v string) (time.Duration, error) {
		d, err := parseDuration(v)
		s.deadline = s.deadline || err == nil
		return d, err
	}, "deadline", "", "TIME", "", "end after so long in any case (without a terminal: 24h)")

	f.group = "What is printed"
	f.add(&count{n: &o.Verbose}, "verbose", "v", "print the names of what changes").NoOptDefVal = "+1"
	f.on(&o.Quiet, "quiet", "q", "print errors only")
	f.on(&o.Itemize, "itemize-changes", "i", "print each change with rsync's eleven letters")
	f.on(&o.Human, "human-readable", "h", "print sizes as 1.23 MB")
	f.on(&o.Progress, "progress", "", "print a status line every 10 s where there is no terminal")
	f.on(&s.keep, "partial", "", "keep what has come when interrupted: always done")
	f.several(&many{to: true, ps: []*bool{&o.Progress, &s.keep}}, "partial-progress", "P", "same as --partial --progress")
	f.on(&o.Stats, "stats", "", "print all counters at the end")
	f.on(&o.JSON, "json", "", "print JSON lines (docs/json.md)")

	// These say what is the case anyway: -a brings no devices here.
	for _, name := range []string{"no-D", "no-devices", "no-specials"} {
		fl := f.add(&many{}, name, "", "devices and special files are never copied")
		fl.NoOptDefVal, fl.Hidden = "true", true
	}
}

// options validates what was given and completes it.
func (s *syncFlags) options(args []string, a *app) (SyncOptions, error) {
	if !s.kinds {
		for _, p := range []*bool{&s.o.Recursive, &s.o.Links, &s.o.Perms, &s.o.Times, &s.o.Group, &s.o.Owner} {
			*p = true
		}
		for _, p := range s.off {
			*p = false
		}
	}
	o := s.o
	o.Rules = s.rules.all()
	if o.BwLimit = s.bw.rate; s.bw.table != nil {
		o.BwTimes = &Timetable{turns: s.bw.table.turns, where: a.env.Location}
	}
	o.Dir, o.Stdin = a.env.Dir, a.env.Stdin
	o.Unattended = !a.stderrTTY
	if o.FilesFrom != "" && !s.recurse {
		o.Recursive = false // as with rsync, a list does not imply it
	}
	if o.Unattended && !s.deadline {
		o.Deadline = 24 * time.Hour
	}

	if len(args) < 2 {
		what := "needs a source and a destination"
		hint := "for example: ropeway sync -a https://host/m/site/ ./site"
		if len(args) == 1 {
			what += "; only " + quote(args[0]) + " was given"
			hint = "to see what a source holds: ropeway ls URL"
		}
		return o, usage(hint, "sync: %s", what)
	}
	o.Sources, o.Dest = args[:len(args)-1], args[len(args)-1]
	urls := 0
	for i, arg := range args {
		if err := checkPlace(arg); err != nil {
			return o, err
		}
		if i < len(args)-1 && isURL(arg) {
			urls++
		}
	}
	return o, conflicts(o, urls)
}

// conflicts refuses options that cannot hold at once.
func conflicts(o SyncOptions, urls int) error {
	stdin := 0
	for _, r := range o.Rules {
		if r.Value == "-" && strings.HasSuffix(r.Kind, "-from") {
			stdin++
		}
	}
	if o.FilesFrom == "-" {
		stdin++
	}
	switch {
	case urls > 0 && isURL(o.Dest):
		return usage("run it on one of the two hosts", "sync: source and destination cannot both be URLs")
	case urls > 1:
		return usage("run one sync per source", "sync: only one source can be a URL")
	case urls == 1 && len(o.Sources) > 1:
		return usage("run one sync per source", "sync: a URL cannot be mixed with other sources")
	case len(o.Mirrors) > 0 && urls == 0 && !isURL(o.Dest):
		return usage("leave it out", "sync: --mirror is of no use between local places")
	case stdin > 1:
		return usage("write one of them to a file", "sync: standard input can be read by one option only")
	case o.Atomic && o.Land == "early":
		return usage("leave one of them out", "sync: --atomic exchanges the tree at the end, --land=early puts files in place before")
	case o.Atomic && o.FilesFrom != "":
		return usage("leave one of them out", "sync: --atomic replaces the whole tree, --files-from copies a part of it")
	case o.Delete && !o.Recursive:
		return usage("add -r, or leave --delete out", "sync: --delete does not work without --recursive (-r)")
	}
	return nil
}

// checkPlace refuses forms of rsync that would otherwise be taken for odd file names.
func checkPlace(arg string) error {
	const serve = "run 'ropeway serve DIR' there and use the URL it prints"
	switch head, _, colon := strings.Cut(arg, ":"); {
	case arg == "":
		return usage("for the current directory write .", "sync: an empty name is neither a source nor a destination")
	case strings.HasPrefix(arg, "rsync://"):
		return usage(serve, "sync: %s: rsync daemons are not supported yet", quote(arg))
	case isURL(arg) || !colon || len(head) <= 1 || strings.ContainsAny(head, `/\`):
		return nil
	case strings.Contains(arg, "::"):
		return usage(serve, "sync: %s: rsync daemons (host::module) are not supported yet", quote(arg))
	}
	return usage(serve+"; a file of that name is ./"+arg, "sync: %s: remote shells (host:path) are not supported yet", quote(arg))
}

// isURL reports whether arg names a place on another host.
func isURL(arg string) bool {
	scheme, _, ok := strings.Cut(arg, "://")
	if !ok || scheme == "" {
		return false
	}
	for _, c := range []byte(scheme) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

func usage(hint, text string, args ...any) error {
	return fault.New(fault.Usage, hint, text, args...)
}
