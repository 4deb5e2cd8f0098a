package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// printable returns s with everything that could act on a terminal, or be
// taken for the end of a line, shown as rsync shows it: \#ooo per byte, ooo
// octal. A text that looks like such an escape is escaped itself.
func printable(s string) string {
	if isPrintable(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && n <= 1) || !unicode.IsGraphic(r) || looksEscaped(s[i:]) {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\#%03o`, c)
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func isPrintable(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError || !unicode.IsGraphic(r) || r == '\\' && looksEscaped(s[i:]) {
			return false
		}
	}
	return true
}

// looksEscaped reports whether s begins like an escape: \#ooo.
func looksEscaped(s string) bool {
	if len(s) < 5 || s[0] != '\\' || s[1] != '#' {
		return false
	}
	for _, c := range []byte(s[2:5]) {
		if c < '0' || c > '7' {
			return false
		}
	}
	return true
}

// columns is the number of terminal columns that s may take; it errs upwards,
// because a line that wraps cannot be redrawn.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x300 {
			n++
		}
	}
	return n
}

// cut shortens s to at most width columns.
func cut(s string, width int) string {
	n := 0
	for i, r := range s {
		n += columns(string(r))
		if n > width {
			return s[:i]
		}
	}
	return s
}

// human formats bytes with a decimal unit and about three digits: "31.2 MB".
func human(n int64) string {
	if n < 0 {
		return "-" + human(-max(n, -math.MaxInt64))
	}
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		v /= 1000
		digits := 0
		switch {
		case v < 9.995:
			digits = 2
		case v < 99.95:
			digits = 1
		case v >= 999.5 && unit != "EB":
			continue
		}
		return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
	}
	return "" // not reached: EB always returns
}

// commas formats an integer with separators: 1,234,567.
func commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(s[i])
	}
	return sign + b.String()
}

// clock formats a remaining time: 0:07, 12:30, 3:04:05, 2d 03:04.
func clock(d time.Duration) string {
	sec := int64(max(d, 0).Round(time.Second) / time.Second)
	m, s := sec/60%60, sec%60
	h := sec / 3600
	switch {
	case h >= 48:
		return fmt.Sprintf("%dd %02d:%02d", h/24, h%24, m)
	case h > 0:
		return fmt.Sprintf("%d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%d:%02d", m, s)
}

// span formats a time that has passed in words: 0.8 s, 12 s, 3 min 5 s, 2 h 4 min.
func span(d time.Duration) string {
	d = max(d, 0)
	if d < 9950*time.Millisecond {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	sec := int64(d.Round(time.Second) / time.Second)
	switch {
	case sec < 60:
		return fmt.Sprintf("%d s", sec)
	case sec < 3600:
		return fmt.Sprintf("%d min %d s", sec/60, sec%60)
	}
	return fmt.Sprintf("%d h %d min", sec/3600, sec/60%60)
}

// lasting formats a time that goes on, for a line that is redrawn: whole seconds.
func lasting(d time.Duration) string {
	if d = d.Truncate(time.Second); d < 10*time.Second {
		return fmt.Sprintf("%d s", max(d, 0)/time.Second)
	}
	return span(d)
}

// moment formats a point in time as a person near it would say it.
func moment(t, now time.Time, loc *time.Location) string {
	t, now = t.In(loc), now.In(loc)
	switch {
	case t.YearDay() != now.YearDay() || t.Year() != now.Year():
		return t.Format("2006-01-02 15:04")
	case t.Sub(now).Abs() < 10*time.Minute:
		return t.Format("15:04:05")
	}
	return t.Format("15:04")
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return commas(n) + " " + many
}
