package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ropeway/ropeway/internal/lab"
	"github.com/ropeway/ropeway/internal/link"
)

// LabEngine is the part of Engine that runs weak networks on this machine.
type LabEngine interface {
	// LabRun opens a lab, runs commands on its hosts and closes it.
	LabRun(ctx context.Context, o LabOptions, hooks LabHooks) (LabEnd, error)
	// LabSet changes a lab that runs, lab 0 being the only one.
	LabSet(ctx context.Context, number int, c lab.Change) (lab.Status, error)
	// LabClean finds what dead labs left behind and, unless dryRun, removes it.
	LabClean(ctx context.Context, dryRun bool) ([]LabLeftover, error)
}

// LabOptions is what `ropeway lab run` was asked to do, validated.
type LabOptions struct {
	Profile  link.Profile
	Events   []link.Event
	CC       string // TCP congestion control; "" is the system's
	Seed     uint64
	Hosts    int
	Pcap     map[string]string // files by host
	Commands map[string]string // for sh -c, by host
	Shell    bool              // on host b, on this terminal
	Timeout  time.Duration
	Again    Again
}

// Again is how this program can run itself once more, for the rights that it
// needs.
type Again struct {
	Args           []string // of this run
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// LabHooks is how a lab reports. The functions are never nil and may be called
// from several goroutines.
type LabHooks struct {
	Line func(host, stream string, line []byte) // of a command's output
	Note func(text string)                      // what the user should know
}

// LabEnd is how a lab ended.
type LabEnd struct {
	// Relayed: the program ran itself again, which has printed everything. Exit
	// is its exit code, and nothing else is set.
	Relayed bool
	Exit    int // of b's command
	Exits   map[string]int
	Status  lab.Status // at the end
}

// LabLeftover is something that a dead lab left behind.
type LabLeftover struct {
	What      string // "namespace" or "socket"
	Name      string
	Owner     int   // process that made it; 0 is not known
	Processes []int // that still ran in it
}

// exitStatus ends a verb with an exit code that is not a class of ours.
type exitStatus struct {
	code    int
	printed bool // the last line of --json too
}

func (e *exitStatus) Error() string {
	return fmt.Sprintf("the command on the host ended with exit code %d", e.code)
}
