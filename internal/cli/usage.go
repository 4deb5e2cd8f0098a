package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// unsupported are rsync's flags that sync does not have, by letter and name,
// with what to say. They are refused: a flag that is ignored does harm.
var unsupported = []struct{ letter, name, what, hint string }{
	{"H", "hard-links", "hard links", ""},
	{"A", "acls", "access control lists", ""},
	{"X", "xattrs", "extended attributes", ""},
	{"D", "devices", "devices and special files", "-a does not include them here"},
	{"", "specials", "devices and special files", "-a does not include them here"},
	{"S", "sparse", "sparse files", ""},
	{"u", "update", "keeping newer files", ""},
	{"b", "backup", "backups of replaced files", ""},
	{"", "backup-dir", "backups of replaced files", ""},
	{"", "suffix", "backups of replaced files", ""},
	{"d", "dirs", "directories without their content", ""},
	{"L", "copy-links", "following symlinks", ""},
	{"k", "copy-dirlinks", "following symlinks to directories", ""},
	{"K", "keep-dirlinks", "following symlinks to directories", ""},
	{"", "copy-unsafe-links", "following symlinks", ""},
	{"", "safe-links", "leaving out symlinks that point outside", ""},
	{"", "munge-links", "rewriting symlinks", ""},
	{"R", "relative", "relative path names", "give the parent directory and filters"},
	{"", "no-implied-dirs", "relative path names", ""},
	{"x", "one-file-system", "staying on one file system", "exclude the mount points"},
	{"E", "executability", "executability alone", "use -p"},
	{"O", "omit-dir-times", "leaving out directory times", ""},
	{"J", "omit-link-times", "leaving out symlink times", ""},
	{"U", "atimes", "access times", ""},
	{"N", "crtimes", "creation times", ""},
	{"", "chmod", "changing permissions", ""},
	{"", "chown", "changing owners", ""},
	{"", "usermap", "changing owners", ""},
	{"", "groupmap", "changing groups", ""},
	{"", "numeric-ids", "choosing how owners are matched", ""},
	{"", "super", "super-user emulation", ""},
	{"", "fake-super", "super-user emulation", ""},
	{"e", "rsh", "remote shells", "run 'ropeway serve' there and use its URL"},
	{"", "rsync-path", "remote shells", "run 'ropeway serve' there and use its URL"},
	{"M", "remote-option", "remote shells", "run 'ropeway serve' there and use its URL"},
	{"s", "secluded-args", "remote shells", "run 'ropeway serve' there and use its URL"},
	{"", "daemon", "rsync daemons", "use: ropeway serve DIR"},
	{"", "server", "rsync's own protocol", "use: ropeway serve DIR"},
	{"", "password-file", "rsync daemons", ""},
	{"", "port", "a port apart from the URL", "write it in the URL: https://host:PORT/name/"},
	{"", "address", "a local address", ""},
	{"4", "ipv4", "choosing the address family", "all addresses are tried"},
	{"6", "ipv6", "choosing the address family", "all addresses are tried"},
	{"", "existing", "updating existing files only", ""},
	{"", "ignore-existing", "leaving existing files alone", ""},
	{"", "remove-source-files", "removing what was sent", ""},
	{"", "delete-before", "choosing when to delete", "deletions come last; use --delete"},
	{"", "delete-during", "choosing when to delete", "deletions come last; use --delete"},
	{"", "del", "choosing when to delete", "deletions come last; use --delete"},
	{"", "delete-delay", "choosing when to delete", "deletions come last; use --delete"},
	{"", "delete-after", "choosing when to delete", "deletions come last; use --delete"},
	{"", "delete-excluded", "deleting what is excluded", ""},
	{"", "ignore-errors", "deleting in spite of errors", ""},
	{"", "force", "replacing full directories by files", ""},
	{"", "max-size", "limits on the size of files", ""},
	{"", "min-size", "limits on the size of files", ""},
	{"", "partial-dir", "a place for partial files", "they are always kept; --temp-dir chooses where"},
	{"", "delay-updates", "that name", "use --land=late, the default"},
	{"", "inplace", "writing over files in place", "files are always replaced whole"},
	{"", "append", "appending in place", "deltas send only what is new"},
	{"", "append-verify", "appending in place", "deltas send only what is new"},
	{"", "preallocate", "preallocation", ""},
	{"m", "prune-empty-dirs", "leaving out empty directories", ""},
	{"I", "ignore-times", "that comparison", "use -c to read all content again"},
	{"", "size-only", "comparison by size alone", ""},
	{"@", "modify-window", "inexact times", ""},
	{"y", "fuzzy", "that switch", "similar files are looked for without it"},
	{"", "compare-dest", "further base directories", ""},
	{"", "copy-dest", "further base directories", ""},
	{"", "link-dest", "further base directories", ""},
	{"C", "cvs-exclude", "CVS ignore lists", "write the patterns as --exclude"},
	{"F", "", "rule files inside the tree", "name the file: --filter='merge FILE'"},
	{"B", "block-size", "choosing the block size", ""},
	{"", "compress-choice", "choosing the compression", ""},
	{"", "zc", "choosing the compression", ""},
	{"", "compress-level", "choosing the compression", ""},
	{"", "zl", "choosing the compression", ""},
	{"", "skip-compress", "choosing the compression", ""},
	{"", "checksum-choice", "choosing the checksum", ""},
	{"", "cc", "choosing the checksum", ""},
	{"", "info", "message classes", "use -v, -i, --stats or --json"},
	{"", "debug", "message classes", "use -v, -i, --stats or --json"},
	{"", "out-format", "output formats", "use -i or --json"},
	{"", "log-file", "log files", "redirect the output, or use --json"},
	{"", "list-only", "that switch", "use: ropeway ls URL"},
	{"8", "8-bit-output", "raw file names", "use --json"},
	{"", "iconv", "converting file names", ""},
	{"", "stop-after", "that name", "use --deadline"},
	{"", "stop-at", "that name", "use --deadline"},
	{"", "write-batch", "batch files", ""},
	{"", "only-write-batch", "batch files", ""},
	{"", "read-batch", "batch files", ""},
	{"", "protocol", "rsync's own protocol", ""},
	{"", "mkpath", "creating parents of the destination", ""},
	{"", "ignore-missing-args", "missing sources", ""},
	{"", "delete-missing-args", "missing sources", ""},
}

// flagError turns what the parser found wrong into one line and a next step.
func flagError(cmd *cobra.Command, err error) error {
	verb, help := cmd.Name(), cmd.CommandPath()+" --help lists the flags"
	if !cmd.HasParent() {
		verb = "ropeway"
	}
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.Is(err, pflag.ErrHelp): // -h where it is not defined
		return usage("use --help", "%s: unknown flag -h", verb)
	case errors.As(err, &unknown):
		return unknownFlag(cmd, verb, help, unknown)
	case errors.As(err, &missing):
		return usage(help, "%s: %s needs a value", verb, flagName(missing.GetFlag()))
	case errors.As(err, &invalid):
		return usage("", "%s: %s: %s: %v", verb, flagName(invalid.GetFlag()), quote(invalid.GetValue()), invalid.Unwrap())
	}
	return usage(help, "%s: %v", verb, err)
}

func unknownFlag(cmd *cobra.Command, verb, help string, e *pflag.NotExistError) error {
	letter, name := "", e.GetSpecifiedName()
	shown := "--" + name
	if e.GetSpecifiedShortnames() != "" {
		letter, name = name, ""
		shown = "-" + letter
	}
	if verb == "sync" {
		for _, u := range unsupported {
			if letter != "" && u.letter == letter || name != "" && u.name == name {
				return usage(u.hint, "sync: %s (%s) is not supported yet", shown, u.what)
			}
		}
	}
	if !cmd.HasParent() {
		return usage("for example: ropeway sync -a SOURCE DESTINATION", "unknown flag %s before a verb", shown)
	}
	if name != "" {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := nearest(name, names); near != "" {
			return usage(help, "%s: unknown flag %s, did you mean --%s?", verb, shown, near)
		}
	}
	return usage(help, "%s: unknown flag %s", verb, shown)
}

// unknownVerb is the error for a word that is no verb.
func unknownVerb(root *cobra.Command, word string) error {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	const hint = "ropeway --help lists the verbs"
	if near := nearest(word, names); near != "" {
		return usage(hint, "unknown verb %s, did you mean %s?", quote(word), near)
	}
	return usage(hint, "unknown verb %s", quote(word))
}

func flagName(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand + ", --" + f.Name
	}
	return "--" + f.Name
}

// quote makes an argument part of a message. Whatever a URL has before its host
// may be a secret.
func quote(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		if at := strings.LastIndexByte(rest[:end], '@'); at >= 0 {
			s = scheme + "://" + rest[at+1:]
		}
	}
	return strconv.Quote(s)
}

// nearest returns the name that word most likely means, or "".
func nearest(word string, names []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", 1+min(2, len(word)/3)
	for _, n := range names {
		d := edits(word, n)
		if len(word) >= 3 && strings.HasPrefix(n, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = n, d
		}
	}
	return best
}

// edits counts the letters to insert, delete, replace or swap with the next to
// make a into b.
func edits(a, b string) int {
	var older, old []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older, old, row = old, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = slices.Min([]int{old[j] + 1, row[j-1] + 1, old[j-1] + cost})
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
