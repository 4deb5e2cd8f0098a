package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fstest"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

func TestOpenSeesSwaps(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("secret"), 0o644))
	for name, swap := range map[string]func(p string) error{
		"grown":     func(p string) error { return os.WriteFile(p, []byte("longer than before"), 0o644) },
		"truncated": func(p string) error { return os.Truncate(p, 0) },
		"chmod":     func(p string) error { return os.Chmod(p, 0o600) },
		"removed":   os.Remove,
		"replaced": func(p string) error {
			return errors.Join(os.WriteFile(p+".new", []byte("content"), 0o644), os.Rename(p+".new", p))
		},
		"symlink":   func(p string) error { return errors.Join(os.Remove(p), os.Symlink(outside, p)) },
		"directory": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) },
	} {
		dir := t.TempDir()
		fstest.Tree(t, dir, fstest.Spec{"file": fstest.File("content").At(77, 0)})
		o := options(t, dir)
		_, err := Walk(t.Context(), o, func(f *Found, open func() (*os.File, error)) error {
			if f.Path == "" {
				if _, err := open(); err == nil {
					t.Error("opened a directory")
				}
				return nil
			}
			file, err := open()
			must(t, err)
			_ = file.Close()
			must(t, swap(filepath.Join(dir, "file")))
			file, err = open()
			if err == nil {
				_ = file.Close()
				// Within one tick of the clock a change of mode shows in nothing.
				if name != "chmod" {
					t.Errorf("%s: opened", name)
				}
			} else if !errors.Is(err, ErrChanged) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fsys.ErrNotRegular) {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		})
		must(t, err)
	}
}

func TestHasherSeesChanges(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	for name, c := range map[string]struct {
		change func() error
		want   error
	}{
		"still":     {func() error { return nil }, nil},
		"grown":     {func() error { return appendTo(p, "more") }, ErrChanged},
		"truncated": {func() error { return os.Truncate(p, int64(len(data)-1)) }, ErrChanged},
	} {
		must(t, os.WriteFile(p, data, 0o644))
		f, err := os.Open(p)
		must(t, err)
		info, err := fileInfo(f)
		must(t, err)
		var total int64
		changed := false
		h := Hasher{Progress: func(n int64) {
			if total += n; !changed {
				changed = true
				must(t, c.change())
			}
		}}
		d, err := h.File(t.Context(), f, StatOf(info))
		if !errors.Is(err, c.want) || err == nil && d != digest.Sum(data) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
		if _, err := h.File(t.Context(), f, manifest.Stat{}); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: another file: %v", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		info, err = fileInfo(f)
		must(t, err)
		if _, err := h.File(ctx, f, StatOf(info)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: cancelled: %v", name, err)
		}
		_ = f.Close()
	}
}

func appendTo(p, s string) error {
	f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s)
	return errors.Join(err, f.Close())
}

func TestVanishing(t *testing.T) {
	dir := t.TempDir()
	spec := fstest.Spec{"z": fstest.File("z")}
	for _, d := range []string{"a", "b", "c"} {
		for i := range 3 {
			spec[fmt.Sprintf("%s/%d", d, i)] = fstest.File("x")
			spec[fmt.Sprintf("%s/sub/%d", d, i)] = fstest.File("x")
		}
	}
	fstest.Tree(t, dir, spec)
	index := hashed(t, options(t, dir))
	o := options(t, dir)
	o.Index = manifest.Slice(index)
	var warned, gone, seen []string
	o.Warn = func(p string, err error) {
		if !fsys.IsNotExist(err) {
			t.Errorf("%q: %v", p, err)
		}
		warned = append(warned, p)
	}
	o.Gone = func(r *manifest.Record) error { gone = append(gone, r.Path); return nil }
	_, err := Walk(t.Context(), o, func(f *Found, _ func() (*os.File, error)) error {
		switch seen = append(seen, f.Path); f.Path {
		case "a/0":
			must(t, os.Remove(filepath.Join(dir, "a", "1")))
			must(t, os.RemoveAll(filepath.Join(dir, "b")))
		case "c/1":
			must(t, os.RemoveAll(filepath.Join(dir, "c")))
			must(t, os.Symlink("a", filepath.Join(dir, "c")))
		}
		return nil
	})
	must(t, err)
	if want := []string{"", "a", "a/0", "a/2", "a/sub", "a/sub/0", "a/sub/1", "a/sub/2", "c", "c/0", "c/1", "z"}; !slices.Equal(seen, want) {
		t.Errorf("saw %q", seen)
	}
	if want := []string{"a/1", "b", "c/2", "c/sub"}; !slices.Equal(gone, want) {
		t.Errorf("gone %q", gone)
	}
	if want := []string{"a/1", "b", "c/2", "c/sub"}; !slices.Equal(warned, want) {
		t.Errorf("warned of %q", warned)
	}
}

func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := t.TempDir()
	fstest.Tree(t, dir, fstest.Spec{
		"closed": fstest.Dir().Mode(0), "closed/x": fstest.File("x"), "blind": fstest.Dir().Mode(0o444), "blind/x": fstest.File("x"),
		"file": fstest.File("x").Mode(0), "ok": fstest.File("x"),
	})
	o := options(t, dir)
	var warned []string
	o.Warn = func(p string, err error) {
		if !fsys.IsPermission(err) {
			t.Errorf("%q: %v", p, err)
		}
		warned = append(warned, p)
	}
	recs, st := collect(t, o)
	if got, want := paths(recs), []string{"", "blind", "file", "ok"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if want := []string{"blind/x", "closed"}; !slices.Equal(warned, want) || st.Warned != 2 {
		t.Errorf("%q", warned)
	}

	for i := range recs {
		recs[i].Stat = manifest.Stat{}
	}
	o.Index = manifest.Slice(recs)
	warned = nil
	var diff []string
	_, err := Changes(t.Context(), o, HashOptions{}, func(r *manifest.Record) error {
		diff = append(diff, fmt.Sprint(r.Op, r.Path))
		return nil
	})
	must(t, err)
	slices.Sort(warned)
	if want := []string{"1file", "0ok"}; !slices.Equal(diff, want) || !slices.Equal(warned, []string{"blind/x", "closed", "file"}) {
		t.Errorf("%q, warned of %q", diff, warned)
	}
}
