package cli

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ropeway/ropeway/internal/fault"
)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

func TestExitCodesAreComplete(t *testing.T) {
	manual := document(t, "manual.md")
	listed := map[fault.Class]bool{}
	for _, c := range exitCodes {
		listed[c.class] = true
		row := fmt.Sprintf("| %d | %s | %s |", int(c.class), c.class, c.meaning)
		if !strings.Contains(manual, row) {
			t.Errorf("docs/manual.md lacks %s", row)
		}
	}
	for n := range 256 {
		c := fault.Class(n)
		if known := !strings.HasPrefix(c.String(), "class-"); known != listed[c] {
			t.Errorf("class %d %s: known %t, in the table %t", n, c, known, listed[c])
		}
		if listed[c] && c.Retryable() != retrySaid(c) {
			t.Errorf("class %s: the table says the wrong thing about retries", c)
		}
	}
}

func retrySaid(c fault.Class) bool {
	for _, e := range exitCodes {
		if e.class == c {
			return strings.Contains(e.meaning, "can succeed later")
		}
	}
	return false
}

func verbs(root *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range root.Commands() {
		if c.GroupID == groupMain {
			list = append(list, c)
		}
	}
	return list
}

func TestManualNamesEverything(t *testing.T) {
	manual := document(t, "manual.md")
	for _, verb := range verbs(newApp(Env{}).root()) {
		if !strings.Contains(manual, "ropeway "+verb.Name()) {
			t.Errorf("docs/manual.md lacks the verb %s", verb.Name())
		}
		if n := strings.Count(verb.Example, "ropeway "+verb.Name()); n < 2 {
			t.Errorf("%s: %d examples", verb.Name(), n)
		}
		verb.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" && !strings.Contains(manual, "`--"+f.Name) {
				t.Errorf("docs/manual.md lacks --%s of %s", f.Name, verb.Name())
			}
			if f.Shorthand != "" && !strings.Contains(manual, "`-"+f.Shorthand+"`") {
				t.Errorf("docs/manual.md lacks -%s of %s", f.Shorthand, verb.Name())
			}
		})
	}
	for _, u := range unsupported {
		for _, verb := range verbs(newApp(Env{}).root()) {
			if verb.Name() == "sync" && (u.name != "" && verb.Flags().Lookup(u.name) != nil ||
				u.letter != "" && verb.Flags().ShorthandLookup(u.letter) != nil) {
				t.Errorf("%s %s is supported", u.letter, u.name)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	var all strings.Builder
	for _, args := range [][]string{{"--help"}, {"sync", "--help"}, {"help", "serve"}, {"ls", "--help"}, {"demo", "--help"},
		{"diff", "--help"}, {"patch", "--help"}, {"patch", "make", "--help"}, {"patch", "apply", "--help"},
		{"lab", "incident", "--help"}, {"lab", "bench", "--help"},
		{"lab", "--help"}, {"help", "lab", "run"}, {"help", "lab", "set"}, {"help", "lab", "clean"}, {"help", "lab", "profiles"},
		{"version", "--help"}, {"help", "exit-codes"}, {"help", "filters"}, {"help", "environment"}} {
		r := with(nil, nil, args...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%v: exit %d %s", args, r.code, r.stderr)
		}
		fmt.Fprintf(&all, "$ ropeway %s\n%s\n", strings.Join(args, " "), r.stdout)
	}
	for line := range strings.Lines(all.String()) {
		if columns(line) > helpWidth+1 {
			t.Errorf("%d columns: %s", columns(line), line)
		}
	}
	golden(t, "help", all.String())
}

// TestJSONIsDocumented holds docs/json.md against the types that are printed.
func TestJSONIsDocumented(t *testing.T) {
	doc := document(t, "json.md")
	for kind, v := range map[string]any{
		"start": jsonStart{}, "status": jsonStatus{}, "work": jsonWork{}, "link": jsonLink{}, "lane": jsonLane{},
		"item": jsonItem{}, "warning": jsonWarning{}, "note": jsonNote{}, "summary": jsonSummary{}, "exit": jsonExit{}, "entry": jsonEntry{}, "scene": jsonScene{},
		"output": jsonOutput{}, "profile": jsonProfile{}, "lab": jsonLab{}, "leftover": jsonLeftover{},
		"ready": jsonReady{}, "access": jsonAccess{}, "version": version{},
		"content": jsonContent{}, "difference": jsonDifference{}, "applied": jsonApplied{},
	} {
		_, section, found := strings.Cut(doc, "\n## "+kind+"\n")
		if !found {
			t.Errorf("docs/json.md lacks %s", kind)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		printed := map[string]bool{}
		fields(reflect.TypeOf(v), printed)
		for name := range printed {
			if !strings.Contains(section, "| `"+name+"` |") {
				t.Errorf("docs/json.md: %s lacks %s", kind, name)
			}
		}
		for line := range strings.Lines(section) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
			if strings.HasPrefix(line, "| `") && !printed[name] {
				t.Errorf("docs/json.md: %s has no %s", kind, name)
			}
		}
	}
}

func fields(t reflect.Type, into map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Type == reflect.TypeFor[jsonHead]():
		case f.Anonymous:
			fields(f.Type, into)
		case name != "schema" && name != "type":
			into[name] = true
		}
	}
}
