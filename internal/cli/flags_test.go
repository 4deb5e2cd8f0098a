package cli

import (
	"context"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// parse runs sync and returns the options that reach the engine.
func parse(t *testing.T, env []string, args ...string) (SyncOptions, result) {
	t.Helper()
	var got SyncOptions
	r := with(engine{sync: func(_ context.Context, o SyncOptions, _ event.Func) error {
		got = o
		return nil
	}}, env, append([]string{"sync"}, args...)...)
	return got, r
}

func kinds(o SyncOptions) string {
	s := ""
	for i, on := range []bool{o.Recursive, o.Links, o.Perms, o.Times, o.Group, o.Owner} {
		if on {
			s += string("rlptgo"[i])
		}
	}
	return s
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		args string
		env  string
		want string
	}{
		{"", "", "rlptgo"},
		{"-a", "", "rlptgo"},
		{"--archive", "", "rlptgo"},
		{"-r", "", "r"},
		{"-rt --links", "", "rlt"},
		{"-a --no-o", "", "rlptg"},
		{"--no-o -a", "", "rlptgo"},
		{"-a --no-owner --no-g -o", "", "rlpto"},
		{"--no-perms", "", "rltgo"},
		{"-a --no-r --no-l --no-p --no-t --no-g --no-o", "", ""},
		{"-a --no-D --no-specials", "", "rlptgo"},
		{"-a --recursive=false", "", "lptgo"},
		{"", "ROPEWAY_ARCHIVE=1", "rlptgo"},
		{"--no-o", "ROPEWAY_ARCHIVE=1", "rlptg"},
		{"", "ROPEWAY_NO_OWNER=1", "rlptg"},
		{"-a", "ROPEWAY_NO_OWNER=1", "rlptgo"},
		{"", "ROPEWAY_TIMES=1", "t"},
		{"--files-from=list", "", "lptgo"},
		{"-a --files-from=list", "", "lptgo"},
		{"-ar --files-from=list", "", "rlptgo"},
	} {
		o, r := parse(t, []string{c.env}, append(strings.Fields(c.args), "src", "dst")...)
		if got := kinds(o); got != c.want || r.code != 0 {
			t.Errorf("%q %s: %q (exit %d %s), want %q", c.args, c.env, got, r.code, r.stderr, c.want)
		}
	}
}

func TestSyncOptions(t *testing.T) {
	base := func(f func(*SyncOptions)) SyncOptions {
		o := SyncOptions{
			Sources: []string{"src/"}, Dest: "dst", Dir: "/dir", Stdin: eof{},
			Recursive: true, Links: true, Perms: true, Times: true, Group: true, Owner: true,
			MaxDelete: -1, Land: "late", Timeout: 15 * time.Minute, ConnectTimeout: time.Minute,
			Deadline: 24 * time.Hour, Unattended: true,
		}
		if f != nil {
			f(&o)
		}
		return o
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want func(*SyncOptions)
	}{
		{"plain", nil, []string{"src/", "dst"}, nil},
		{"bundle", nil, []string{"-avzPnichq0W", "src/", "dst"}, func(o *SyncOptions) {
			o.Verbose, o.Compress, o.Progress, o.DryRun, o.Itemize = 1, true, true, true, true
			o.Checksum, o.Human, o.Quiet, o.From0, o.WholeFile = true, true, true, true, true
		}},
		{"flags after operands", nil, []string{"src/", "-vv", "dst", "--stats", "--json"}, func(o *SyncOptions) {
			o.Verbose, o.Stats, o.JSON = 2, true, true
		}},
		{"two dashes", nil, []string{"-n", "--", "-src", "dst"}, func(o *SyncOptions) {
			o.DryRun, o.Sources = true, []string{"-src"}
		}},
		{"several sources", nil, []string{"a", "b/", "dst"}, func(o *SyncOptions) { o.Sources = []string{"a", "b/"} }},
		{"url", nil, []string{"https://h:1/m/", "./a:b"}, func(o *SyncOptions) {
			o.Sources, o.Dest = []string{"https://h:1/m/"}, "./a:b"
		}},
		{"drive", nil, []string{`C:\src`, "dst"}, func(o *SyncOptions) { o.Sources = []string{`C:\src`} }},
		{"rules in order", nil, []string{
			"--exclude=a", "--include", "b", "-f", "- c", "--exclude-from=f1", "--include-from=f2", "--exclude", "d,e", "src/", "dst",
		}, func(o *SyncOptions) {
			o.Rules = []Rule{{"exclude", "a"}, {"include", "b"}, {"filter", "- c"}, {"exclude-from", "f1"}, {"include-from", "f2"}, {"exclude", "d,e"}}
		}},
		{"rules from the environment come last, per kind", []string{"ROPEWAY_EXCLUDE=x\ny", "ROPEWAY_INCLUDE=i"}, []string{
			"--include=b", "src/", "dst",
		}, func(o *SyncOptions) {
			o.Rules = []Rule{{"include", "b"}, {"exclude", "x"}, {"exclude", "y"}}
		}},
		{"landing", nil, []string{"--land=early", "--fsync", "-T", "/stage", "--delete", "--max-delete=0", "src/", "dst"}, func(o *SyncOptions) {
			o.Land, o.Fsync, o.TempDir, o.Delete, o.MaxDelete = "early", true, "/stage", true, 0
		}},
		{"atomic", nil, []string{"--atomic", "src/", "dst"}, func(o *SyncOptions) { o.Atomic = true }},
		{"limits", nil, []string{"--bwlimit=1.5M", "--timeout=0", "--contimeout", "90", "--deadline=1h30m", "src/", "dst"}, func(o *SyncOptions) {
			o.BwLimit, o.Timeout, o.ConnectTimeout, o.Deadline = 1572864, 0, 90*time.Second, 90*time.Minute
		}},
		{"no deadline", nil, []string{"--deadline=0", "src/", "dst"}, func(o *SyncOptions) { o.Deadline = 0 }},
		{"environment", []string{
			"ROPEWAY_TIMEOUT=20", "ROPEWAY_VERBOSE=2", "ROPEWAY_COMPRESS=1", "ROPEWAY_MAX_DELETE=7", "ROPEWAY_DEADLINE=5s", "ROPEWAY_LAND=",
		}, []string{"src/", "dst"}, func(o *SyncOptions) {
			o.Timeout, o.Verbose, o.Compress, o.MaxDelete, o.Deadline = 20*time.Second, 2, true, 7, 5*time.Second
		}},
		{"flag before environment", []string{"ROPEWAY_TIMEOUT=20", "ROPEWAY_VERBOSE=2", "ROPEWAY_COMPRESS=1", "ROPEWAY_WHOLE_FILE=1"}, []string{
			"--timeout=30", "-v", "--no-z", "--no-whole-file", "src/", "dst",
		}, func(o *SyncOptions) {
			o.Timeout, o.Verbose, o.NoWholeFile = 30*time.Second, 1, true
		}},
		{"partial is always so", nil, []string{"--partial", "src/", "dst"}, nil},
		{"files from", nil, []string{"-r", "-t", "-0", "--files-from=-", "src/", "dst"}, func(o *SyncOptions) {
			o.Links, o.Perms, o.Group, o.Owner = false, false, false, false
			o.From0, o.FilesFrom = true, "-"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, r := parse(t, c.env, c.args...)
			if r.code != 0 {
				t.Fatalf("exit %d: %s", r.code, r.stderr)
			}
			if want := base(c.want); !reflect.DeepEqual(got, want) {
				t.Errorf("\ngot  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args, want string
	}{
		{"snyc a b", `unknown verb "snyc", did you mean sync?`},
		{"frobnicate", `unknown verb "frobnicate"`},
		{"-av a b", "unknown flag -a before a verb\n  → for example: ropeway sync"},
		{"help snyc", `unknown verb "snyc", did you mean sync?`},
		{"sync", "sync: needs a source and a destination"},
		{"sync a", `only "a" was given`},
		{"sync https://x:rw_secret@host/m/a/", `only "https://host/m/a/" was given`},
		{"https://x:rw_secret@host?a=@b", `unknown verb "https://host?a=@b"`},
		{"sync --exlude=x a b", "sync: unknown flag --exlude, did you mean --exclude?"},
		{"sync --frob a b", "sync: unknown flag --frob\n"},
		{"sync -H a b", "sync: -H (hard links) is not supported yet"},
		{"sync -aHv a b", "sync: -H (hard links) is not supported yet"},
		{"sync --hard-links a b", "sync: --hard-links (hard links) is not supported yet"},
		{"sync -e ssh a b", "(remote shells) is not supported yet\n  → run 'ropeway serve'"},
		{"sync --delete-after a b", "deletions come last"},
		{"sync -Z a b", "sync: unknown flag -Z\n"},
		{"sync --timeout", "sync: --timeout needs a value"},
		{"sync --timeout=soon a b", `sync: --timeout: "soon": want seconds`},
		{"sync --timeout=-1 a b", "want seconds"},
		{"sync --bwlimit=9x a b", "want a size"},
		{"sync --bwlimit=100b a b", "too small"},
		{"sync --max-delete=-2 a b", "want a number of files"},
		{"sync --land=now a b", "want early or late"},
		{"sync --temp-dir= a b", "must not be empty"},
		{"sync --exclude= a b", "want a pattern"},
		{"sync --verbose=99 a b", "want a number from 0 to 9"},
		{"sync --archive=maybe a b", "want true or false"},
		{"sync --atomic --land=early a b", "--atomic exchanges the tree at the end"},
		{"sync --atomic --files-from=x a b", "--files-from copies a part"},
		{"sync --delete -t a b", "--delete does not work without --recursive"},
		{"sync --files-from=- --exclude-from=- a b", "standard input can be read by one option only"},
		{"sync https://h/a https://h/b", "cannot both be URLs"},
		{"sync https://h/a https://h/b c", "only one source can be a URL"},
		{"sync x https://h/b c", "cannot be mixed"},
		{"sync host:dir a", "remote shells (host:path) are not supported yet"},
		{"sync host::dir a", "host::module) are not supported yet"},
		{"sync a rsync://h/m", "rsync daemons are not supported yet"},
		{"serve", "serve: needs a directory"},
		{"serve a b", `serve: too many arguments, from "b" on`},
		{"serve --listen=8730 a", "want HOST:PORT"},
		{"serve --name=../x a", "want letters, digits"},
		{"serve --ephemeral --state-dir=x a", "--ephemeral keeps nothing"},
		{"serve a", "HOME is not set"},
		{"serve -h a", "serve: unknown flag -h\n  → use --help"},
		{"ls", "ls: needs a URL"},
		{"demo --loss=60", "want a percentage from 0 to 50"},
		{"version x", "too many arguments"},
		{"version --jsn", "did you mean --json?"},
		{"completion fish extra", "ropeway: unknown command"},
	} {
		r := with(engine{}, nil, strings.Fields(c.args)...)
		if r.code != 2 || !strings.HasPrefix(r.stderr, "ropeway: ") || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%s: exit %d\n%swant %s", c.args, r.code, r.stderr, c.want)
		}
		if n := strings.Count(r.stderr, "\n"); n > 2 || r.stdout != "" {
			t.Errorf("%s: %d lines\n%s%s", c.args, n, r.stdout, r.stderr)
		}
	}
	r := with(engine{}, []string{"ROPEWAY_TIMEOUT=soon"}, "sync", "a", "b")
	if r.code != 2 || !strings.Contains(r.stderr, `environment variable ROPEWAY_TIMEOUT="soon": want seconds`) {
		t.Errorf("exit %d %s", r.code, r.stderr)
	}
	if r := with(engine{}, []string{"ROPEWAY_LISTEN=soon"}, "sync", "a", "b"); r.code != 0 {
		t.Errorf("a variable of another verb: exit %d %s", r.code, r.stderr)
	}
}

func TestUnsupportedIsUnsupported(t *testing.T) {
	for _, u := range unsupported {
		for _, flag := range []string{"-" + u.letter, "--" + u.name} {
			if strings.HasSuffix(flag, "-") {
				continue
			}
			r := with(engine{}, nil, "sync", flag, "a", "b")
			if r.code != 2 || !strings.Contains(r.stderr, "("+u.what+") is not supported yet") {
				t.Errorf("%s: exit %d %s", flag, r.code, r.stderr)
			}
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "100": 102400, "1.5m": 1572864, "1K": 1024, "1KB": 1000, "1KiB": 1024, "2g": 2 << 30, "600b": 600,
		"1MB": 1000000, ".5M": 524288, "1T": 1 << 40,
	} {
		if got, err := parseRate(in); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", ".", "K", "1KK", "1BB", "1BiB", "-1", "1 K", "1e3", "9999999P", "1.2.3", "1kI", "\xff"} {
		if got, err := parseRate(in); err == nil {
			t.Errorf("%q: %d, want an error", in, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "60": time.Minute, "1.5": 1500 * time.Millisecond, "15m": 15 * time.Minute, "1h30m": 90 * time.Minute,
	} {
		if got, err := parseDuration(in); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "-1s", "x", "NaN", "inf", "1e300", "1d"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("%q: %s, want an error", in, got)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"snyc": "sync", "sevre": "serve", "lss": "ls", "x": "", "version1": "version", "dem": "demo"} {
		if got := nearest(word, []string{"sync", "serve", "ls", "demo", "version"}); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"1.5M", "15m", "0", "1e9", "-3", "NaN", "5%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseRate(s); err == nil && n < 0 {
			t.Errorf("rate %q: %d", s, n)
		}
		if d, err := parseDuration(s); err == nil && d < 0 {
			t.Errorf("duration %q: %s", s, d)
		}
		if v, err := parseShare(s); err == nil && !(v >= 0 && v <= 0.5) || math.IsNaN(v) {
			t.Errorf("share %q: %g", s, v)
		}
		if name, err := parseModule(s); err == nil && strings.ContainsAny(name, "/\\ ") {
			t.Errorf("module %q", s)
		}
	})
}

func FuzzArgs(f *testing.F) {
	for _, s := range []string{"sync\x00-avzP\x00src\x00dst", "sync\x00--exclude\x00x\x00--\x00-a\x00b", "help\x00sync", "ls\x00-h\x00x", "-x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 {
			return
		}
		r := with(engine{}, nil, strings.Split(s, "\x00")...)
		if r.code != 0 && r.code != 2 && r.code != 1 || strings.Contains(r.stderr, "internal error") {
			t.Errorf("%q: exit %d\n%s", s, r.code, r.stderr)
		}
	})
}
