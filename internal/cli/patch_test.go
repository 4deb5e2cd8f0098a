package cli

import (
	"context"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

func TestPatchOptions(t *testing.T) {
	var made []PatchOptions
	var applied []ApplyOptions
	e := engine{
		make: func(_ context.Context, o PatchOptions, _ event.Func) (*Difference, error) {
			made = append(made, o)
			return &Difference{NewBytes: 1_000_000, Patch: 1234, NewFiles: 3}, nil
		},
		apply: func(_ context.Context, o ApplyOptions, _ event.Func) (*Applied, error) {
			o.Stdin = nil
			applied = append(applied, o)
			return &Applied{Files: 3, Bytes: 1_000_000, Made: 20_000}, nil
		},
	}
	for _, c := range []struct{ args, out string }{
		{"patch make a b -o f", "f: 1,234 bytes, 0.123 % of 1,000,000 bytes\n"},
		{"patch make -n --no-times -h a b", "the patch would take 1.23 kB, 0.123 % of 1.00 MB\n"},
		{"patch make -q a b -o f", ""},
		{"patch apply a f -o b", "b: 3 files of 1,000,000 bytes in all, 20,000 bytes of it made by the patch, all verified\n"},
		{"patch apply -nh a -", "the patch applies: 3 files of 1.00 MB in all, 20.0 kB of it made by the patch, all verified\n"},
	} {
		if r := with(e, nil, strings.Fields(c.args)...); r.code != 0 || r.stdout != c.out {
			t.Errorf("%s: exit %d, %q %q", c.args, r.code, r.stdout, r.stderr)
		}
	}
	wantMade := []PatchOptions{
		{Old: "a", New: "b", Dir: "/dir", Out: "f"}, {Old: "a", New: "b", Dir: "/dir", NoTimes: true}, {Old: "a", New: "b", Dir: "/dir", Out: "f"},
	}
	if !reflect.DeepEqual(made, wantMade) {
		t.Errorf("made %+v", made)
	}
	if want := []ApplyOptions{{Old: "a", Patch: "f", Dest: "b", Dir: "/dir"}, {Old: "a", Patch: "-", Dir: "/dir"}}; !reflect.DeepEqual(applied, want) {
		t.Errorf("applied %+v", applied)
	}
	for _, args := range []string{"patch", "patch x", "patch make a", "patch make a b", "patch apply a f", "patch apply a", "diff a", "diff a b c", "diff --rate=x a b"} {
		if r := with(e, nil, strings.Fields(args)...); r.code != int(fault.Usage) || r.stderr == "" {
			t.Errorf("%s: exit %d %s", args, r.code, r.stderr)
		}
	}
}

func TestDiffIsExplained(t *testing.T) {
	e := engine{make: func(context.Context, PatchOptions, event.Func) (*Difference, error) {
		d := &Difference{
			OldFiles: 30, NewFiles: 31, OldBytes: 5e6, NewBytes: 68_000_000, Patch: 16_400, Listing: 400, Windows: 3, Deleted: 1, Attributes: 2, Tree: "t",
			Content: []FileDifference{
				{Path: "app.jar", Method: "container", Size: 66_000_000, Cost: 15_000, Literal: 9000},
				{Path: "bin/\x1b\xff", Method: "bytes", Size: 1_000_000, Cost: 900, Literal: 100},
				{Path: "new", Method: "moved", From: "old\xff", Size: 900_000},
			},
		}
		for range 20 {
			d.Content = append(d.Content, FileDifference{Path: "small", Method: "dictionary", Size: 3571, Cost: 3})
		}
		return d, nil
	}}
	stamps := regexp.MustCompile(`"time":"[^"]*"`)
	var all strings.Builder
	for _, args := range []string{"diff a b", "diff -ha --rate=1M a b", "diff --json --no-times a b", "diff -q a b"} {
		r := with(e, nil, strings.Fields(args)...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%s: exit %d %s", args, r.code, r.stderr)
		}
		all.WriteString("$ ropeway " + args + "\n" + stamps.ReplaceAllString(r.stdout, `"time":"T"`))
	}
	golden(t, "diff", all.String())
}
