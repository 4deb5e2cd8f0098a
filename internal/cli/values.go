package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// fromEnv is implemented by values whose environment variable is not simply
// what the flag would be given, or is replaced, not continued, by the flag.
type fromEnv interface{ setEnv(string) error }

// many is a flag that sets several switches, such as -a, or clears one, such
// as --no-o.
type many struct {
	to   bool
	ps   []*bool
	seen func() // called at each use; may be nil
	set  bool
}

func (m *many) String() string { return strconv.FormatBool(m.set) }
func (m *many) Type() string   { return "bool" }
func (m *many) Set(s string) error {
	on, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("want true or false")
	}
	m.set = on
	for _, p := range m.ps {
		*p = on == m.to
	}
	if m.seen != nil {
		m.seen()
	}
	return nil
}

// count is a flag that is given several times to say more, such as -vv.
type count struct {
	n   *int
	env bool // n came from the environment
}

func (c *count) String() string {
	if c.n == nil {
		return "0"
	}
	return strconv.Itoa(*c.n)
}
func (c *count) Type() string { return "count" }
func (c *count) Set(s string) error {
	if c.env {
		*c.n, c.env = 0, false
	}
	if s == "+1" {
		*c.n++
		return nil
	}
	return c.parse(s)
}

func (c *count) setEnv(s string) error {
	c.env = true
	return c.parse(s)
}

func (c *count) parse(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 9 {
		return errors.New("want a number from 0 to 9")
	}
	*c.n = n
	return nil
}

// rules collects filter flags of all kinds in the order in which they stand.
// Those of the environment come last, and only those kinds of them that the
// command line does not use.
type rules struct {
	args, env []Rule
}

func (r *rules) all() []Rule { return append(append([]Rule(nil), r.args...), r.env...) }

// ruleValue is one kind of filter flag.
type ruleValue struct {
	list *rules
	kind string
}

func (v *ruleValue) String() string { return "" }
func (v *ruleValue) Type() string {
	if strings.HasSuffix(v.kind, "-from") {
		return "FILE"
	}
	if v.kind == "filter" {
		return "RULE"
	}
	return "PATTERN"
}

func (v *ruleValue) Set(s string) error {
	if s == "" {
		return errors.New("want a " + strings.ToLower(v.Type()))
	}
	v.list.args = append(v.list.args, Rule{Kind: v.kind, Value: s})
	kept := v.list.env[:0]
	for _, r := range v.list.env {
		if r.Kind != v.kind {
			kept = append(kept, r)
		}
	}
	v.list.env = kept
	return nil
}

// setEnv takes one rule per line.
func (v *ruleValue) setEnv(s string) error {
	for line := range strings.Lines(s) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			v.list.env = append(v.list.env, Rule{Kind: v.kind, Value: line})
		}
	}
	return nil
}

// checked is a flag whose text is parsed into T.
type checked[T any] struct {
	p     *T
	text  string
	typ   string
	parse func(string) (T, error)
}

func (c *checked[T]) String() string { return c.text }
func (c *checked[T]) Type() string   { return c.typ }
func (c *checked[T]) Set(s string) error {
	v, err := c.parse(s)
	if err != nil {
		return err
	}
	*c.p, c.text = v, s
	return nil
}

// parseDuration reads rsync's plain seconds, or Go's "15m" and "1h30m". It is
// never negative.
func parseDuration(s string) (time.Duration, error) {
	const want = "want seconds, or a time such as 90s, 15m, 1h30m"
	d, err := time.ParseDuration(s)
	if err != nil {
		var sec float64
		sec, err = strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(sec) || sec > float64(math.MaxInt64/int64(time.Second)-1) {
			return 0, errors.New(want)
		}
		d = time.Duration(sec * float64(time.Second))
	}
	if d < 0 {
		return 0, errors.New(want)
	}
	return d, nil
}

// parseSize reads a number of bytes as rsync does: decimals, and a suffix K,
// M, G, T or P (powers of 1024; KiB is the same, KB is 1000) or B. unit is
// the suffix that stands if there is none.
func parseSize(s string, unit byte) (int64, error) {
	wrong := errors.New("want a size such as 500K, 1.5M or 2GB")
	i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		i = len(s)
	}
	v, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, wrong
	}
	suffix := strings.ToUpper(s[i:])
	if suffix == "" {
		suffix = string(unit)
	}
	base := 1024.0
	switch rest := suffix[1:]; {
	case suffix == "B":
	case suffix[0] == 'B':
		return 0, wrong
	case rest == "B":
		base = 1000
	case rest != "" && rest != "IB":
		return 0, wrong
	}
	power := strings.IndexByte("BKMGTP", suffix[0])
	if power < 0 {
		return 0, wrong
	}
	v *= math.Pow(base, float64(power))
	if v >= math.MaxInt64 {
		return 0, errors.New("too large")
	}
	return int64(math.Round(v)), nil
}

// parseRate reads --bwlimit: bytes per second, in KiB without a suffix.
func parseRate(s string) (int64, error) {
	n, err := parseSize(s, 'K')
	if err == nil && n > 0 && n < 512 {
		return 0, errors.New("less than 512 bytes per second is too small")
	}
	return n, err
}

// parseShare reads a percentage from 0 to 50 as a share.
func parseShare(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(v >= 0 && v <= 50) {
		return 0, errors.New("want a percentage from 0 to 50")
	}
	return v / 100, nil
}

// notEmpty accepts any text but none.
func notEmpty(s string) (string, error) {
	if s == "" {
		return "", errors.New("must not be empty")
	}
	return s, nil
}

// parseMaxDelete reads a number of files; -1 is no limit.
func parseMaxDelete(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1 {
		return 0, errors.New("want a number of files, or -1 for no limit")
	}
	return n, nil
}

// oneOf returns a parser that accepts only the words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		for _, w := range words {
			if s == w {
				return s, nil
			}
		}
		return "", fmt.Errorf("want %s", strings.Join(words, " or "))
	}
}
