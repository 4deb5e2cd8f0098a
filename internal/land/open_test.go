package land

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/manifest"
)

func TestDryRun(t *testing.T) {
	for name, old := range map[string]fstest.Spec{"changed": before, "missing": nil} {
		t.Run(name, func(t *testing.T) {
			src, dst := dirs(t, old, after)
			top := filepath.Dir(dst)
			was, _ := fstest.Describe(top)
			j := newJob(t, src, dst)
			j.o.DryRun = true
			a, err := Open(context.Background(), j.o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Root().Stat(); err != nil {
				t.Error(err)
			}
			if r, _, err := a.OpenIndex(); r != nil || err != nil {
				t.Error(r, err)
			}
			if err := a.Preflight(1, 1); err != nil {
				t.Error(err)
			}
			res, err := j.land(a)
			if err != nil || res.Landed == 0 {
				t.Error(res, err)
			}
			if _, err := a.Stage("x", 1); err == nil {
				t.Error("staged")
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if len(j.events) == 0 {
				t.Error("nothing reported")
			}
			is, _ := fstest.Describe(top)
			fstest.Equal(t, was, is)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	top := t.TempDir()
	join := func(p string) string { return filepath.Join(top, p) }
	fstest.Tree(t, top, fstest.Spec{
		"file": fstest.File("x"), "dangling": fstest.Link("nothing"), "dir": fstest.Dir(), "link": fstest.Link("dir"),
		"state-file/.ropeway": fstest.File("x"), "state-link/.ropeway": fstest.Link("../dir"),
		"other/.ropeway/ready":   fstest.File(`{"Version":99}`),
		"damaged/.ropeway/ready": fstest.File(`{"Version`),
		"lists/.ropeway/ready":   fstest.File(`{"Version":0,"Mask":3}`),
	})
	for _, c := range []struct {
		o    Options
		want fault.Class
	}{
		{Options{Dest: ""}, fault.Usage},
		{Options{Dest: join("file")}, fault.Usage},
		{Options{Dest: join("file/x")}, fault.NotFound},
		{Options{Dest: join("no/dir")}, fault.NotFound},
		{Options{Dest: join("dangling")}, fault.NotFound},
		{Options{Dest: join("state-file")}, fault.Denied},
		{Options{Dest: join("state-link")}, fault.Denied},
		{Options{Dest: join("other")}, fault.Incompatible},
		{Options{Dest: join("damaged")}, fault.Integrity},
		{Options{Dest: join("lists")}, fault.Integrity},
		{Options{Dest: join("dir"), Atomic: true, Early: true}, fault.Usage},
		{Options{Dest: join("dir"), TempDir: join("dir")}, fault.Usage},
		{Options{Dest: join("dir"), TempDir: join("no")}, fault.NotFound},
		{Options{Dest: "/", Atomic: true, DryRun: true}, fault.Usage},
	} {
		a, err := Open(ctx, c.o)
		if fault.ClassOf(err) != c.want {
			t.Errorf("%+v: %v, %v", c.o, fault.ClassOf(err), err)
		}
		if err == nil {
			a.Close()
		}
	}
	a, err := Open(ctx, Options{Dest: join("link"), Holder: "sync, pid 7\n\x1b[31m"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if want, _ := filepath.EvalSymlinks(join("dir")); a.Resolved() != want {
		t.Error("resolved to", a.Resolved())
	}
	for _, dry := range []bool{false, true} {
		_, err = Open(ctx, Options{Dest: join("dir"), DryRun: dry})
		if fault.ClassOf(err) != fault.Busy || !strings.Contains(err.Error(), "(sync, pid 7") || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Error(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err = Open(ctx, Options{Dest: join("dir")}); err != nil {
		t.Fatal(err)
	}
	if a.Resolved() != "" {
		t.Error("resolved to", a.Resolved())
	}
	a.Close()
}

func TestAddRefuses(t *testing.T) {
	a, err := Open(context.Background(), Options{Dest: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	file := func(p string) manifest.Entry { return manifest.Entry{Path: p, Type: manifest.File} }
	if err := a.Add(&Op{Kind: OpFile, Entry: file("m")}); err != nil {
		t.Fatal(err)
	}
	for _, op := range []Op{
		{Kind: OpFile, Entry: file(StateDir)}, {Kind: OpFile, Entry: file(".Ropeway/x")}, {Kind: OpDelete, Entry: file(StateDir + "/index")},
		{Kind: OpFile, Entry: file("../x")}, {Kind: OpFile, Entry: file("/x")}, {Kind: OpFile, Entry: file("x//y")},
		{Kind: OpDelete}, {Kind: OpMkdir, Entry: file("x")}, {Kind: 9, Entry: file("x")}, {Kind: OpFile, Entry: file("a")},
		{Kind: OpAttr, Entry: manifest.Entry{Path: "x", Type: manifest.Fifo}},
	} {
		if err := a.Add(&op); fault.ClassOf(err) != fault.Integrity {
			t.Errorf("%+v: %v", op, err)
		}
	}
}

func TestDamagedIndexIsFirstContact(t *testing.T) {
	src, dst := dirs(t, nil, after)
	newJob(t, src, dst).must()
	path := filepath.Join(dst, StateDir, nameIndex)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	version := slices.Clone(good)
	version[5]++
	for name, b := range map[string][]byte{"cut": good[:len(good)-1], "empty": {}, "version": version, "kind": append([]byte("ropeo"), good[5:]...)} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(context.Background(), Options{Dest: dst})
		if err != nil {
			t.Fatal(err)
		}
		if r, _, err := a.OpenIndex(); r != nil || err != nil {
			t.Error(name, r, err)
		}
		a.Close()
	}
}
