package lane

import "golang.org/x/sys/windows"

// The package syscall has these names too, with numbers that no call returns.
const (
	errRefused     = windows.WSAECONNREFUSED
	errInUse       = windows.WSAEADDRINUSE
	errReset       = windows.WSAECONNRESET
	errAborted     = windows.WSAECONNABORTED
	errHostUnreach = windows.WSAEHOSTUNREACH
	errNetUnreach  = windows.WSAENETUNREACH
)
