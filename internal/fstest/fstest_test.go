package fstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTortureIsReproducible(t *testing.T) {
	closed := os.Geteuid() == 0
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	Tree(t, a, Torture(1, closed))
	Tree(t, b, Torture(1, closed))
	want, got := Snapshot(t, a), Snapshot(t, b)
	Equal(t, want, got)
	if spec := Torture(1, closed); len(want) != len(spec) {
		t.Errorf("%d objects of %d", len(want), len(spec))
	}
	t.Logf("%d objects", len(want))
}

func TestAttributesArrive(t *testing.T) {
	dir := t.TempDir()
	Tree(t, dir, Spec{
		".":   Dir().Mode(0o711).At(5, 6),
		"f":   File("x").Mode(0o4751).At(-7, 8),
		"d":   Dir().Mode(0o2750).At(15_000_000_000, 9),
		"d/l": Link("to").At(3, 4),
	})
	got := Snapshot(t, dir)
	for p, want := range map[string]string{
		".":   "dir 0711 5.000000006",
		"f":   "file 4751 -7.000000008 1 2d711642b726b044",
		"d":   "dir 2750 15000000000.000000009",
		"d/l": `link 3.000000004 -> "to"`,
	} {
		if got[p] != want {
			t.Errorf("%q: %s, want %s", p, got[p], want)
		}
	}
}

func TestDiff(t *testing.T) {
	got := Diff(map[string]string{"a": "1", "b": "2", "c": "3"}, map[string]string{"b": "2", "c": "4", "d": "5"})
	want := []string{`"a" is missing: 1`, `"c": want 3, got 4`, `"d" is too much: 5`}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q", got)
	}
	if len(Diff(nil, nil)) != 0 {
		t.Error("nothing differs from nothing")
	}
}
