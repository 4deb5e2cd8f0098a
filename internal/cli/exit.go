package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

// exitCode is a row of the table of exit codes.
type exitCode struct {
	class   fault.Class
	meaning string
}

// exitCodes is the one table of exit codes: help prints it, and a test holds
// it against package fault and the manual.
var exitCodes = []exitCode{
	{fault.OK, "success; also when nothing was to do"},
	{fault.Other, "error that no other code describes"},
	{fault.Usage, "wrong flags, arguments or configuration"},
	{fault.Partial, "finished, but some items failed or vanished"},
	{fault.NotFound, "source or destination not found"},
	{fault.Network, "temporary network failure: the same command can succeed later"},
	{fault.Integrity, "a digest, signature or pin did not match"},
	{fault.Denied, "denied: authentication, permission, read-only"},
	{fault.Limit, "a limit stopped it: time, bytes, deletions, disk space"},
	{fault.Busy, "busy: locked, or another run won; the same command can succeed later"},
	{fault.Incompatible, "incompatible protocol or format version"},
	{fault.Interrupted, "interrupted (SIGINT, Ctrl-C)"},
	{fault.Terminated, "terminated (SIGTERM)"},
}

func exitCodesText() string {
	var b strings.Builder
	b.WriteString("The exit code says how a command ended; it never changes its meaning.\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %-13s %s\n", int(c.class), c.class, c.meaning)
	}
	b.WriteString(`
Treat a code that is not in the table as a failure. With --json the last line
repeats the code, its word, the message and whether a retry can succeed.
`)
	return b.String()
}

// finish prints how the command ended and returns the exit code.
func (a *app) finish(err error) int {
	var known *fault.Error
	if err != nil && !a.ran && !errors.As(err, &known) && !isPanic(err) {
		err = usage("", "%v", err) // cobra's own
	}
	class := fault.ClassOf(err)
	say := func(g *gate, text string) {
		if a.stopped.Load() {
			g.shut(text)
			return
		}
		_, _ = g.Write([]byte(text))
	}
	var status *exitStatus
	if errors.As(err, &status) { // what failed has said so
		if status.printed {
			return status.code
		}
		if a.json {
			exit := event.Exit{Code: status.code, Class: fault.Other.String(), Message: status.Error()}
			say(a.stdout, string(jsonLine(newJSONExit(exit, ""))))
		}
		return status.code
	}
	if err != nil {
		say(a.stderr, errorText(err))
	}
	if a.json && !a.exitPrinted {
		exit := event.Exit{Code: int(class), Class: class.String(), Retryable: class.Retryable()}
		hint := ""
		if err != nil {
			exit.Message, hint = err.Error(), fault.HintOf(err)
		}
		say(a.stdout, string(jsonLine(newJSONExit(exit, hint))))
	}
	return int(class)
}

// errorText is what the user reads about err: one line, and a second one when
// there is a next step. Only a defect of ours shows more.
func errorText(err error) string {
	s := "ropeway: " + printable(err.Error()) + "\n"
	if hint := fault.HintOf(err); hint != "" {
		s += "  → " + printable(hint) + "\n"
	}
	var crash *panicError
	if errors.As(err, &crash) {
		s += string(crash.stack)
	}
	return s
}

func isPanic(err error) bool {
	var crash *panicError
	return errors.As(err, &crash)
}
