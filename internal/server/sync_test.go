package server

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
)

func TestSync(t *testing.T) {
	cfg, content := bigTree(t)
	cfg.StateDir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dest := filepath.Join(t.TempDir(), "dest")
	for i := range 2 { // the second time against a server that was started again
		s := serve(t, cfg)
		d := &lane.Dialer{Endpoint: s.url}
		sum, err := job.Run(ctx, job.Options{
			Dial: d.Dial, Module: "mod", Dest: dest, Recursive: true, MaxDelete: -1,
			Mask:   manifest.Perm | manifest.Times | manifest.Links,
			Events: event.Discard,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dest, "big")); err != nil || string(got) != string(content) {
			t.Error("not what was served:", len(got), err)
		}
		if sum.Unchanged != (i == 1) {
			t.Errorf("run %d: %+v", i, sum)
		}
		if a := s.last(func(a Access) bool { return a.Route == routePlan }); a.Outcome != OutcomeOK || a.Module != "mod" || a.In == 0 || a.Bytes == 0 {
			t.Errorf("%+v", a)
		}
		s.close()
	}
}
