package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ropeway/ropeway/internal/fault"
)

// flagGroup is the annotation that holds the heading under which help lists a flag.
const flagGroup = "group"

// flags adds flags to a verb under headings.
type flags struct {
	*pflag.FlagSet
	group string
}

func newFlags(cmd *cobra.Command) *flags {
	fs := cmd.Flags()
	fs.SortFlags = false
	return &flags{FlagSet: fs, group: "Flags"}
}

// add adds a flag. Text is its help; a word in backquotes names its value.
func (f *flags) add(v pflag.Value, name, short, text string) *pflag.Flag {
	fl := f.VarPF(v, name, short, text)
	fl.Annotations = map[string][]string{flagGroup: {f.group}}
	return fl
}

func (f *flags) on(p *bool, name, short, text string) {
	f.several(&many{to: true, ps: []*bool{p}}, name, short, text)
}

func (f *flags) several(m *many, name, short, text string) {
	f.add(m, name, short, text).NoOptDefVal = "true"
}

// off adds --no-NAME and, if there is a letter, --no-LETTER, which help does
// not list one by one.
func (f *flags) off(m *many, name, short string) {
	m.to = false
	names := []string{"no-" + name}
	if short != "" {
		names = append(names, "no-"+short)
	}
	for _, n := range names {
		fl := f.add(m, n, "", "turn --"+name+" off")
		fl.NoOptDefVal, fl.Hidden = "true", true
	}
}

// parsed adds a flag with a default text, which is what help shows.
func parsed[T any](f *flags, p *T, parse func(string) (T, error), name, short, typ, def, text string) {
	v := &checked[T]{p: p, typ: typ, parse: parse}
	if def != "" {
		if err := v.Set(def); err != nil {
			v.text = def // a wrong default shows in tests, not in production
		}
	}
	f.add(v, name, short, text)
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "ROPEWAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// hasEnv reports whether a flag can come from the environment.
func hasEnv(f *pflag.Flag) bool { return f.Name != "help" }

// readEnv gives flags their values from the environment. It runs before the
// arguments are parsed, so that they win.
func readEnv(fs *pflag.FlagSet, getenv func(string) string) error {
	var failed error
	fs.VisitAll(func(f *pflag.Flag) {
		if !hasEnv(f) || failed != nil {
			return
		}
		s := getenv(envName(f.Name))
		if s == "" {
			return
		}
		var err error
		if v, ok := f.Value.(fromEnv); ok {
			err = v.setEnv(s)
		} else {
			err = f.Value.Set(s)
		}
		if err != nil {
			failed = fault.New(fault.Usage, "unset the variable or correct it",
				"environment variable %s=%q: %v", envName(f.Name), s, err)
		}
	})
	return failed
}

// truthy reads a switch before flags are parsed.
func truthy(s string) bool { return s == "1" || s == "t" || strings.EqualFold(s, "true") }

// wantsJSON finds out whether errors are reported as JSON too, even those that
// come up while the arguments are parsed.
func wantsJSON(args []string, getenv func(string) string) bool {
	want := truthy(getenv(envName("json")))
	for _, arg := range args {
		name, value, has := strings.Cut(arg, "=")
		switch {
		case arg == "--":
			return want
		case name == "--json":
			want = !has || truthy(value)
		}
	}
	return want
}
