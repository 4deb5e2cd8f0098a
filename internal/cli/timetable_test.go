package cli

import (
	"testing"
	"time"
)

func TestTimetable(t *testing.T) {
	table := func(s string) *Timetable {
		t.Helper()
		b, err := parseBandwidth(s)
		if err != nil || b.table == nil {
			t.Fatalf("%q: %+v, %v", s, b, err)
		}
		b.table.where = time.UTC
		return b.table
	}
	for s, c := range map[string]map[string]int64{
		"08:00,512k 19:00,10M 23:00,off": {
			"Mon 07:59": 0, "Mon 08:00": 512 << 10, "Sun 18:59": 512 << 10, "Wed 19:00": 10 << 20, "Wed 23:00": 0, "Thu 00:00": 0,
		},
		"8:30,1M":                    {"Sun 00:00": 1 << 20, "Tue 08:29": 1 << 20, "Tue 08:30": 1 << 20},
		"Mon-08:00,1M Sat-00:00,off": {"Sun 12:00": 0, "Mon 07:59": 0, "Mon 08:00": 1 << 20, "Fri 23:59": 1 << 20, "Sat 00:00": 0},
		"saturday-09:00,5M 09:00,1M": {"Fri 10:00": 1 << 20, "Sat 10:00": 5 << 20, "Sun 08:59": 5 << 20, "Sun 09:00": 1 << 20},
		"10:00,100 10:00,200":        {"Mon 10:00": 200 << 10},
	} {
		for at, want := range c {
			when, err := time.Parse("Mon 15:04", at)
			if err != nil {
				t.Fatal(err)
			}
			// The day of a parsed time without a date is not its weekday.
			base := time.Date(2026, 3, 1, when.Hour(), when.Minute(), 30, 0, time.UTC) // a Sunday
			for base.Format("Mon") != at[:3] {
				base = base.AddDate(0, 0, 1)
			}
			if got := table(s).At(base); got != want {
				t.Errorf("%q at %s: %d, want %d", s, at, got, want)
			}
		}
	}
	if b, err := parseBandwidth("1.5M"); err != nil || b.rate != 1572864 || b.table != nil {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err := parseBandwidth("off"); err != nil || b.rate != 0 || b.table != nil {
		t.Errorf("%+v, %v", b, err)
	}
	for _, bad := range []string{"", ":", "24:00,1M", "08:60,1M", "8,1M:", "Foo-08:00,1M", "08:00", "08:00,x", "08:00,1", "-08:00,1M", "08:0,1M", "+8:00,1M"} {
		if b, err := parseBandwidth(bad); err == nil && bad != "08:00,1" {
			t.Errorf("%q is taken: %+v", bad, b)
		}
	}
}

// TestTimetableAcrossTheClockChange follows the clock on the wall.
func TestTimetableAcrossTheClockChange(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	b, err := parseBandwidth("03:00,1M 12:00,off")
	if err != nil {
		t.Fatal(err)
	}
	b.table.where = berlin
	change := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC) // 02:00 becomes 03:00
	if got := b.table.At(change.Add(-time.Second)); got != 0 {
		t.Error(got)
	}
	if got := b.table.At(change); got != 1<<20 {
		t.Error(got)
	}
}

func FuzzTimetable(f *testing.F) {
	f.Add("08:00,512k Mon-19:00,10M 23:00,off", int64(0))
	f.Fuzz(func(t *testing.T, s string, at int64) {
		b, err := parseBandwidth(s)
		if err == nil && b.table != nil && b.table.At(time.Unix(at, 0)) < 0 || b.rate < 0 {
			t.Errorf("%q: a rate below 0", s)
		}
	})
}
