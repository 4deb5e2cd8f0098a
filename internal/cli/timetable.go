package cli

import (
	"errors"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Timetable says which rate stands when, by the clock on the wall. It does not
// change.
type Timetable struct {
	turns []turn // ascending; at least one
	where *time.Location
}

// turn is a minute of the week, from Sunday 00:00 on, from which on a rate
// stands.
type turn struct {
	minute int
	rate   int64
}

const (
	day      = 24 * 60 // minutes
	week     = 7 * day
	maxTurns = 512
)

// At returns the rate at a time in bytes per second, 0 for no limit.
func (t *Timetable) At(at time.Time) int64 {
	at = at.In(t.where)
	now := int(at.Weekday())*day + at.Hour()*60 + at.Minute()
	i := sort.Search(len(t.turns), func(i int) bool { return t.turns[i].minute > now })
	if i == 0 { // that of the end of last week
		i = len(t.turns)
	}
	return t.turns[i-1].rate
}

// bandwidth is the value of --bwlimit: one rate, or a timetable.
type bandwidth struct {
	rate  int64
	table *Timetable
}

// parseBandwidth reads a rate, or a timetable: "08:00,512K 19:00,10M 23:00,off"
// with, before a time, a day of the week and "-".
func parseBandwidth(s string) (bandwidth, error) {
	if !strings.Contains(s, ":") {
		rate, err := parseLimit(s)
		return bandwidth{rate: rate}, err
	}
	const want = "want a rate, or times with rates such as \"08:00,512K 19:00,10M 23:00,off\" or \"Mon-08:00,1M Sat-00:00,off\""
	t := &Timetable{where: time.Local}
	set := map[int]int64{}
	for _, daily := range []bool{true, false} { // a day of its own outranks all days
		for _, entry := range strings.Fields(s) {
			when, rate, ok := strings.Cut(entry, ",")
			if !ok {
				return bandwidth{}, errors.New(want)
			}
			n, err := parseLimit(rate)
			if err != nil {
				return bandwidth{}, err
			}
			first, every, err := parseTurn(when)
			if err != nil {
				return bandwidth{}, errors.New(want)
			}
			if every != daily {
				continue
			}
			for minute := first; minute < week; minute += day {
				if set[minute] = n; !every {
					break
				}
			}
		}
	}
	if len(set) == 0 || len(set) > maxTurns {
		return bandwidth{}, errors.New(want)
	}
	for minute, rate := range set {
		t.turns = append(t.turns, turn{minute, rate})
	}
	slices.SortFunc(t.turns, func(a, b turn) int { return a.minute - b.minute })
	return bandwidth{table: t}, nil
}

// parseTurn reads "08:00" or "Mon-08:00" as a minute of the week, and whether
// it stands for every day.
func parseTurn(s string) (minute int, every bool, err error) {
	wrong := errors.New("no time")
	base := 0
	name, clock, ok := strings.Cut(s, "-")
	if every = !ok; every {
		clock = s
	} else {
		for base = 0; ; base++ {
			if base == 7 {
				return 0, false, wrong
			}
			if d := time.Weekday(base).String(); strings.EqualFold(name, d[:3]) || strings.EqualFold(name, d) {
				break
			}
		}
	}
	h, m, ok := strings.Cut(clock, ":")
	hour, e1 := strconv.ParseUint(h, 10, 8)
	min, e2 := strconv.ParseUint(m, 10, 8)
	if !ok || e1 != nil || e2 != nil || hour > 23 || min > 59 || len(h) > 2 || len(m) != 2 {
		return 0, false, wrong
	}
	return base*day + int(hour)*60 + int(min), every, nil
}

// parseLimit reads a rate, or "off".
func parseLimit(s string) (int64, error) {
	if strings.EqualFold(s, "off") {
		return 0, nil
	}
	return parseRate(s)
}

// urlList is a flag that can be given several times.
type urlList struct {
	p   *[]string
	env bool // p is from the environment
}

func (l *urlList) String() string { return "" }
func (l *urlList) Type() string   { return "URL" }

func (l *urlList) Set(s string) error {
	if !isURL(s) {
		return errors.New("want a URL that 'ropeway serve' printed")
	}
	if l.env {
		*l.p, l.env = nil, false
	}
	if *l.p = append(*l.p, s); len(*l.p) > maxMirrors {
		return errors.New("too many")
	}
	return nil
}

// maxMirrors bounds the mirrors of a source.
const maxMirrors = 16

// setEnv takes URLs with spaces between them.
func (l *urlList) setEnv(s string) error {
	for _, u := range strings.Fields(s) {
		if err := l.Set(u); err != nil {
			return err
		}
	}
	l.env = true
	return nil
}
