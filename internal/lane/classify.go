package lane

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/ropeway/ropeway/internal/fault"
)

// Cause returns why a connection failed in the few words that people know,
// "" when there are none for it.
func Cause(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "name not found"
	case errors.As(err, &dns):
		return "the name could not be looked up"
	case errors.Is(err, errRefused):
		return "connection refused"
	case errors.Is(err, errReset), errors.Is(err, errAborted), errors.Is(err, syscall.EPIPE):
		return "connection reset by peer"
	case errors.Is(err, errHostUnreach), errors.Is(err, errNetUnreach):
		return "no route"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too many open files"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return "not permitted by this host"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed by the other side"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "no answer"
	}
	return ""
}

// speaksOther reports whether TLS failed because the peer has no protocol or
// version in common with us. crypto/tls has no type for it.
func speaksOther(err error) bool {
	text := err.Error()
	return strings.HasSuffix(text, "tls: no application protocol") ||
		strings.HasSuffix(text, "tls: protocol version not supported") ||
		strings.Contains(text, "tls: server selected unsupported protocol version")
}

// classify returns err as a fault about the address; faults and cancellation
// stay what they are.
func classify(addr string, err error) error {
	var f *fault.Error
	var record tls.RecordHeaderError
	switch {
	case err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &record):
		return fault.Wrap(fault.Incompatible, err, "check the port", "%s does not speak TLS", addr)
	case speaksOther(err):
		return fault.Wrap(fault.Incompatible, err, "check the version of the server, and whether a proxy is in between",
			"%s does not speak this protocol", addr)
	}
	cause := Cause(err)
	if cause == "" {
		return fault.Wrap(fault.Network, err, "", "%s", addr)
	}
	return &plain{fault.New(fault.Network, hints[cause], "%s: %s", addr, cause), err}
}

var hints = map[string]string{
	"name not found":             "check the name",
	"connection refused":         "check the port, and that the server runs",
	"no route":                   "check the network",
	"not permitted by this host": "a firewall of this host forbids it",
	"too many open files":        "raise the limit of open files",
}

// plain is a fault whose text says the cause in full already, and which still
// lets errors.Is find it.
type plain struct {
	fault *fault.Error
	cause error
}

func (p *plain) Error() string { return p.fault.Error() }

func (p *plain) Unwrap() []error { return []error{p.fault, p.cause} }
