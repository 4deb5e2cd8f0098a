package trial

import (
	"os"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/lab/report"
)

// TestReset replays one scene, with the real rsync.
func TestReset(t *testing.T) {
	needLab(t)
	if _, err := rsyncProgram.find(); err != nil {
		t.Skip(err)
	}
	t.Parallel()
	var got []Scene
	o := IncidentOptions{Quick: true, Scenes: []string{"reset"}, Dir: t.TempDir(), Self: self(t), Show: func(s Scene) { got = append(got, s) }}
	if want := os.Getenv("SCENES"); want != "" {
		o.Scenes = strings.Split(want, ",")
	}
	if err := Incident(t.Context(), o); err != nil {
		t.Error(err)
	}
	for _, s := range got {
		if !s.Shown || !s.Survived {
			t.Errorf("%s: shown %t, survived %t", s.Key, s.Shown, s.Survived)
		}
		for _, x := range []Take{s.Rsync, s.Ropeway} {
			t.Logf("%s: %s %d %.1f %s\n%s\n%s", s.Key, x.Outcome, x.Exit, x.Seconds, x.Result, strings.Join(x.Commands, "\n"), strings.Join(x.Left, "\n"))
			for _, l := range x.Transcript {
				t.Logf("%6.1f %s: %s", l.At, l.Who, l.Text)
			}
		}
	}
	if len(got) == 1 && (got[0].Rsync.Exit != 12 && got[0].Rsync.Exit != 10 || got[0].Ropeway.Outcome != report.OK) {
		t.Errorf("%+v", got[0])
	}
}
