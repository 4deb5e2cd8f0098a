package ropeway_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ropeway/ropeway/"

// floors is the house plan: a package imports only lower floors. Packages of
// one floor do not import each other, but for the words that floor 1 shares.
var floors = map[string]int{
	"cmd/ropeway":            11,
	"internal/engine":        10,
	"internal/cli":           9,
	"internal/demo":          8,
	"internal/server":        7,
	"internal/server/origin": 6,
	"internal/server/plain":  6,
	"internal/job":           6,
	"internal/plan":          5,
	"internal/fetch":         4,
	"internal/land":          4,
	"internal/scan":          4,
	"internal/store":         3,
	"internal/delta":         3,
	"internal/lane":          3,
	"internal/fsys":          2,
	"internal/wire":          2,
	"internal/auth":          2,
	"internal/config":        2,
	"internal/manifest":      1,
	"internal/filter":        1,
	"internal/digest":        0,
	"internal/event":         0,
	"internal/fault":         0,
	"internal/netsim":        0,
	"internal/fstest":        0,
}

// testOnly may be imported by tests and by the demo alone.
var testOnly = map[string]bool{"internal/netsim": true, "internal/fstest": true}

func TestImportsPointDown(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || filepath.Dir(path) == "." {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		seen[pkg] = true
		floor, ok := floors[pkg]
		if !ok {
			t.Errorf("%s: package %s has no floor in the house plan", path, pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			dep, ours := strings.CutPrefix(name, module)
			if !ours || dep == pkg {
				continue
			}
			below, known := floors[dep]
			switch {
			case !known:
				t.Errorf("%s imports %s, which has no floor", path, dep)
			case testOnly[dep] && !strings.HasSuffix(path, "_test.go") && pkg != "internal/demo":
				t.Errorf("%s imports %s, which is for tests and the demo", path, dep)
			case below >= floor && !testOnly[dep]:
				t.Errorf("%s (floor %d) imports %s (floor %d)", path, floor, dep, below)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range floors {
		if !seen[pkg] {
			t.Logf("the house plan lists %s, which has no code yet", pkg)
		}
	}
}

// TestEveryPackageIsDocumented wants a package comment everywhere.
func TestEveryPackageIsDocumented(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Name", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Doc, Name string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Doc == "" && p.ImportPath+"/" != module {
			t.Errorf("package %s has no package comment", p.ImportPath)
		}
	}
}

// TestSmallFiles keeps every file one person's read.
func TestSmallFiles(t *testing.T) {
	const most = 600
	_ = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			if n := strings.Count(string(b), "\n"); n > most {
				t.Errorf("%s has %d lines, more than %d", path, n, most)
			}
		}
		return nil
	})
}
