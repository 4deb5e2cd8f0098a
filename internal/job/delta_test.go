package job

import (
	"testing"
	"time"
)

func TestFastLinksGetWholeFiles(t *testing.T) {
	for _, c := range []struct {
		o    Options
		rtt  time.Duration
		want bool
	}{
		{Options{}, 0, true},
		{Options{}, 40 * time.Millisecond, true},
		{Options{}, time.Millisecond, false},
		{Options{Local: true}, 0, false},
		{Options{Whole: true}, 40 * time.Millisecond, false},
		{Options{NoWhole: true}, time.Millisecond, true},
		{Options{NoWhole: true, Local: true}, 0, true},
		{Options{Whole: true, NoWhole: true}, 0, false},
	} {
		j := &job{o: c.o}
		j.rtt.Store(int64(c.rtt))
		if got := (&content{j: j}).compares(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
