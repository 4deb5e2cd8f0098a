package ropeway_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/ropeway/ropeway/"

// floors is the house plan: a package imports only lower floors. Packages of
// one floor do not import each other, but for the words that floor 1 shares.
var floors = map[string]int{
	"internal/lab/report":      7,
	"internal/lab/trial":       9,
	"internal/lab/netns":       7,
	"internal/lab":             8,
	"cmd/ropeway":              12,
	"internal/engine":          11,
	"internal/cli":             10,
	"internal/demo":            10,
	"internal/server":          9,
	"internal/server/origin":   7,
	"internal/server/plain":    7,
	"internal/server/push":     8,
	"internal/job":             6,
	"internal/plan":            5,
	"internal/fetch":           4,
	"internal/land":            4,
	"internal/scan":            4,
	"internal/store":           3,
	"internal/delta/patchfile": 5,
	"internal/delta/patch":     4,
	"internal/delta/bytediff":  3,
	"internal/delta/container": 3,
	"internal/delta/deflate":   2,
	"internal/delta/column":    2,
	"internal/delta/twolevel":  3,
	"internal/lane":            3,
	"internal/fsys":            2,
	"internal/wire":            2,
	"internal/auth":            2,
	"internal/config":          2,
	"internal/manifest":        1,
	"internal/filter":          1,
	"internal/digest":          0,
	"internal/event":           0,
	"internal/fault":           0,
	"internal/link":            0,
	"internal/netsim":          1,
	"internal/fstest":          0,
}

// testOnly may be imported by tests and by the demo alone.
var testOnly = map[string]bool{"internal/netsim": true, "internal/fstest": true}

// realSleep are the test files that wait for real time, and why. Others sleep
// in bubbles of testing/synctest only.
var realSleep = map[string]string{
	"internal/scan/walk_test.go": "file systems stamp changes by a coarse clock",
}

// source is one parsed Go file.
type source struct {
	path string // with slashes, from the root of the module
	pkg  string // its directory
	test bool
	text []byte
	ast  *ast.File
}

var (
	fset = token.NewFileSet()

	// sources returns all Go files of the module.
	sources = sync.OnceValues(func() ([]source, error) {
		var all []source
		err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && name != "." && (d.Name()[0] == '.' || d.Name() == "testdata"):
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(name, ".go"):
				return nil
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			f, err := parser.ParseFile(fset, name, text, parser.ParseComments)
			name = filepath.ToSlash(name)
			all = append(all, source{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), text, f})
			return err
		})
		return all, err
	})
)

// eachSource calls f for all Go files of the module.
func eachSource(t *testing.T, f func(source)) {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		f(s)
	}
}

// imports returns what s imports, by path.
func (s source) imports() map[string]bool {
	names := map[string]bool{}
	for _, spec := range s.ast.Imports {
		name, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		names[name] = true
	}
	return names
}

func TestImportsPointDown(t *testing.T) {
	seen := map[string]bool{}
	eachSource(t, func(s source) {
		if s.pkg == "." {
			return
		}
		seen[s.pkg] = true
		floor, ok := floors[s.pkg]
		if !ok {
			t.Errorf("%s: package %s has no floor in the house plan", s.path, s.pkg)
			return
		}
		for name := range s.imports() {
			dep, ours := strings.CutPrefix(name, module)
			if !ours || dep == s.pkg {
				continue
			}
			below, known := floors[dep]
			switch {
			case !known:
				t.Errorf("%s imports %s, which has no floor", s.path, dep)
			case testOnly[dep] && !s.test && s.pkg != "internal/demo":
				t.Errorf("%s imports %s, which is for tests and the demo", s.path, dep)
			case below >= floor && !testOnly[dep]:
				t.Errorf("%s (floor %d) imports %s (floor %d)", s.path, floor, dep, below)
			}
		}
	})
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
	eachSource(t, func(s source) {
		most := 600
		switch {
		case s.test:
			most = 800
		case strings.HasPrefix(s.path, "cmd/"):
			most = 30
		}
		if n := strings.Count(string(s.text), "\n"); n > most {
			t.Errorf("%s has %d lines, more than %d", s.path, n, most)
		}
	})
}

// TestNothingIsLeftOpen wants no marks of unfinished work in the source.
func TestNothingIsLeftOpen(t *testing.T) {
	marks := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	eachSource(t, func(s source) {
		for i, line := range strings.Split(string(s.text), "\n") {
			if marks.MatchString(line) {
				t.Errorf("%s:%d: %s", s.path, i+1, strings.TrimSpace(line))
			}
		}
	})
}

// TestTestsDoNotSleep wants tests to wait for events, or in virtual time: where
// no test of a package makes a bubble, none sleeps.
func TestTestsDoNotSleep(t *testing.T) {
	bubbles := map[string]bool{}
	excused := maps.Clone(realSleep)
	eachSource(t, func(s source) {
		bubbles[s.pkg] = bubbles[s.pkg] || s.imports()["testing/synctest"]
		delete(excused, s.path)
	})
	for path := range excused {
		t.Errorf("%s is excused from not sleeping, but is not there", path)
	}
	eachSource(t, func(s source) {
		if !s.test || bubbles[s.pkg] || realSleep[s.path] != "" {
			return
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s: sleeps outside a bubble of testing/synctest", fset.Position(n.Pos()))
				}
			}
			return true
		})
	})
}

// TestNoGlobalState wants package variables to be tables, errors and pools,
// which no function changes, and nothing to run before main.
func TestNoGlobalState(t *testing.T) {
	globals := map[string]map[string]bool{} // of each package
	eachSource(t, func(s source) {
		for _, decl := range s.ast.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: runs before main", fset.Position(f.Pos()))
			}
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR || s.test {
				continue
			}
			if globals[s.pkg] == nil {
				globals[s.pkg] = map[string]bool{}
			}
			for _, spec := range gen.Specs {
				spec := spec.(*ast.ValueSpec)
				if made(spec, "sync", "atomic") && !made(spec, "Pool") {
					t.Errorf("%s: guards state of the whole process", fset.Position(spec.Pos()))
				}
				for _, name := range spec.Names {
					if name.Name == "_" {
						continue // an interface that is kept
					}
					globals[s.pkg][name.Name] = true
				}
			}
		}
	})
	eachSource(t, func(s source) {
		if s.test {
			return
		}
		changed := func(x ast.Expr) {
			id := root(x)
			if id == nil || !globals[s.pkg][id.Name] {
				return
			}
			// The parser knows names that the file declares; what is declared
			// at the top, or in another file, is the package's.
			if id.Obj == nil || id.Obj == s.ast.Scope.Lookup(id.Name) {
				t.Errorf("%s: %s is changed, but belongs to the whole process", fset.Position(x.Pos()), id.Name)
			}
		}
		for _, decl := range s.ast.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					for _, x := range n.Lhs {
						if n.Tok != token.DEFINE {
							changed(x)
						}
					}
				case *ast.IncDecStmt:
					changed(n.X)
				case *ast.CallExpr:
					if name, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (name.Name == "delete" || name.Name == "clear" || name.Name == "copy") {
						changed(n.Args[0])
					}
				}
				return true
			})
		}
	})
}

// made reports whether the type of spec is written with one of the names.
func made(spec *ast.ValueSpec, names ...string) (is bool) {
	if spec.Type == nil {
		return false
	}
	ast.Inspect(spec.Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			for _, name := range names {
				is = is || id.Name == name
			}
		}
		return true
	})
	return is
}

// root returns the variable that x is a part of, nil if it is none's.
func root(x ast.Expr) *ast.Ident {
	for {
		switch y := x.(type) {
		case *ast.Ident:
			return y
		case *ast.IndexExpr:
			x = y.X
		case *ast.SelectorExpr:
			x = y.X
		case *ast.StarExpr:
			x = y.X
		case *ast.SliceExpr:
			x = y.X
		case *ast.ParenExpr:
			x = y.X
		default:
			return nil
		}
	}
}
