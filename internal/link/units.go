package link

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// unit is the end of a quantity's text and what it multiplies by.
type unit struct {
	text   string // lower case
	factor float64
}

// The units, longest spelling first where one ends like another; the one that
// is printed is the first of its factor.
var (
	rateUnits = []unit{
		{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3},
		{"Gbps", 1e9}, {"Mbps", 1e6}, {"kbps", 1e3},
		{"bit", 1}, {"bps", 1}, {"", 1},
	}
	sizeUnits = []unit{
		{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1},
	}
)

// quantity reads a number with one of the units, in any case.
func quantity(s string, units []unit) (float64, error) {
	s = strings.TrimSpace(s)
	for _, u := range units {
		if len(s) < len(u.text) || !strings.EqualFold(s[len(s)-len(u.text):], u.text) {
			continue
		}
		digits := strings.TrimSpace(s[:len(s)-len(u.text)])
		if digits == "" || strings.Trim(digits, "0123456789.") != "" {
			break
		}
		x, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			break
		}
		return x * u.factor, nil
	}
	return 0, errors.New("not a quantity")
}

// parseRate reads a rate such as 100Mbit, in bit/s.
func parseRate(s string) (int64, error) {
	x, err := quantity(strings.TrimSuffix(strings.TrimSpace(s), "/s"), rateUnits)
	if err != nil {
		return 0, fmt.Errorf("%q is no rate; write it like 100Mbit or 1.5Gbit", s)
	}
	if x != 0 && x < minRate || x > maxRate {
		return 0, fmt.Errorf("%s is out of range; give 0 (no limit) or 1kbit to 1000Gbit", s)
	}
	return int64(math.Round(x)), nil
}

// parseSize reads a number of bytes such as 20MB or 64KiB.
func parseSize(s string) (int64, error) {
	x, err := quantity(s, sizeUnits)
	if err != nil {
		return 0, fmt.Errorf("%q is no size; write it like 20MB or 64KiB", s)
	}
	if x > 1<<60 {
		return 0, fmt.Errorf("%s is out of range; the most is 1000000000 GiB", s)
	}
	return int64(math.Round(x)), nil
}

// parseShare reads a probability such as 1.5% or 0.015.
func parseShare(s string) (float64, error) {
	digits, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	x, err := quantity(digits, []unit{{"", 1}})
	if percent {
		x /= 100 // nearer than times .01
	}
	if err != nil || x > 1 {
		return 0, fmt.Errorf("%q is no probability; write it like 1.5%% or 0.015, at most 100%%", s)
	}
	return x, nil
}

// parseTime reads a duration such as 20ms; most is the longest one allowed.
func parseTime(s string, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("%q is no duration; write it like 20ms, 1.5s or 5m", s)
	}
	if d < 0 || d > most {
		return 0, fmt.Errorf("%s is out of range; give 0 to %s", s, formatTime(most))
	}
	return d, nil
}

// formatUnits prints x in the largest unit that leaves it whole, or nearly.
func formatUnits(x int64, units []unit) string {
	for _, u := range units {
		f := int64(u.factor)
		if x != 0 && x%f == 0 {
			return strconv.FormatInt(x/f, 10) + u.text
		}
	}
	return strconv.FormatInt(x, 10)
}

func formatRate(x int64) string { return formatUnits(x, rateUnits) }
func formatSize(x int64) string { return formatUnits(x, sizeUnits) }

// formatShare prints a probability so that parseShare returns the same.
func formatShare(x float64) string {
	percent := strconv.FormatFloat(x*100, 'f', -1, 64) + "%"
	if y, err := parseShare(percent); err == nil && y == x && len(percent) < 8 {
		return percent
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

// formatTime prints a duration as people write it: 70s, 5m, 1h.
func formatTime(d time.Duration) string {
	if d < 10*time.Minute && d%time.Second == 0 && d%time.Minute != 0 {
		return strconv.Itoa(int(d/time.Second)) + "s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
