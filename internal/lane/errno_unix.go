//go:build unix

package lane

import "syscall"

const (
	errRefused     = syscall.ECONNREFUSED
	errInUse       = syscall.EADDRINUSE
	errReset       = syscall.ECONNRESET
	errAborted     = syscall.ECONNABORTED
	errHostUnreach = syscall.EHOSTUNREACH
	errNetUnreach  = syscall.ENETUNREACH
)
