package engine

import (
	"context"
	"os"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/lab/trial"
)

// LabIncident implements cli.TrialEngine.
func (e *Engine) LabIncident(ctx context.Context, o trial.IncidentOptions, again cli.Again) (relayed bool, exit int, err error) {
	if o.Self, err = self(); err != nil {
		return false, 0, err
	}
	return e.inLab(ctx, again, func() error { return trial.Incident(ctx, o) })
}

// LabBench implements cli.TrialEngine.
func (e *Engine) LabBench(ctx context.Context, o trial.BenchOptions, again cli.Again) (b *report.Bench, relayed bool, exit int, err error) {
	if o.Self, err = self(); err != nil {
		return nil, false, 0, err
	}
	relayed, exit, err = e.inLab(ctx, again, func() error {
		var err error
		b, err = trial.Bench(ctx, o)
		return err
	})
	return b, relayed, exit, err
}

// self is our own program, which takes part in trials like any other.
func self() (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", fault.Wrap(fault.Other, err, "", "the path of this program")
	}
	return name, nil
}
