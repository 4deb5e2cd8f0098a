//go:build unix

package server

import "syscall"

// checksModes says whether permission bits mean anything here.
const checksModes = true

// raiseFiles raises the limit of open files as far as this user may, and
// returns it.
func raiseFiles() (files uint64, ok bool) {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 0, false
	}
	if r.Cur < r.Max {
		up := r
		up.Cur = r.Max
		// macOS refuses what it reports as the maximum; the runtime has then
		// raised the limit already.
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &up) == nil {
			r = up
		}
	}
	return uint64(r.Cur), true // signed on FreeBSD
}
