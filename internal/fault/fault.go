// Package fault classifies errors. Every error that reaches a user has one
// class, from which the exit code, the JSON ending and the HTTP status derive.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Class is the kind of an error; its value is the exit code of the process.
type Class int

// The classes. docs/manual.md lists them; they do not change meaning.
const (
	OK           Class = 0
	Other        Class = 1   // not classified
	Usage        Class = 2   // bad flags, arguments or configuration
	Partial      Class = 3   // finished, but some items failed or vanished
	NotFound     Class = 4   // source or destination does not exist
	Network      Class = 5   // temporary network failure: a retry can succeed
	Integrity    Class = 6   // digest, signature or pin did not match
	Denied       Class = 7   // authentication, permission, read-only
	Limit        Class = 8   // time, bytes, deletions or disk space ran out
	Busy         Class = 9   // locked, or another run won
	Incompatible Class = 10  // protocol or format version
	Interrupted  Class = 130 // SIGINT
	Terminated   Class = 143 // SIGTERM
)

var words = map[Class]string{
	OK: "ok", Other: "error", Usage: "usage", Partial: "partial", NotFound: "not-found", Network: "network",
	Integrity: "integrity", Denied: "denied", Limit: "limit", Busy: "busy", Incompatible: "incompatible",
	Interrupted: "interrupted", Terminated: "terminated",
}

func (c Class) String() string {
	if w, ok := words[c]; ok {
		return w
	}
	return fmt.Sprintf("class-%d", int(c))
}

// Parse returns the class whose word is s, or Other.
func Parse(s string) Class {
	for c, w := range words {
		if w == s {
			return c
		}
	}
	return Other
}

// Retryable reports whether the same command can succeed later, unchanged.
func (c Class) Retryable() bool { return c == Network || c == Busy }

// Error is an error with a class and, where there is one, the next step that
// the user can take.
type Error struct {
	Class Class
	Text  string // what happened and why, one line
	Hint  string // what to do, one line; may be empty
	Err   error  // cause; may be nil, is not printed when Text says it
}

func (e *Error) Error() string {
	s := e.Text
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// New returns an error of the class; text is one line.
func New(c Class, hint, text string, args ...any) *Error {
	return &Error{Class: c, Text: fmt.Sprintf(text, args...), Hint: hint}
}

// Wrap returns an error of the class with a cause.
func Wrap(c Class, err error, hint, text string, args ...any) *Error {
	return &Error{Class: c, Text: fmt.Sprintf(text, args...), Hint: hint, Err: err}
}

// ClassOf returns the class of err: that of the outermost Error in its chain,
// OK for nil, Interrupted for a cancelled context, Other for the rest.
func ClassOf(err error) Class {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Class
	case errors.Is(err, context.Canceled):
		return Interrupted
	}
	return Other
}

// HintOf returns the first hint in err's chain.
func HintOf(err error) string {
	for {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
}
