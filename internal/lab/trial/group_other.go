//go:build !unix

package trial

import "os/exec"

// ownGroup does nothing: package lab has no hosts here.
func ownGroup(*exec.Cmd) {}

// killGroup kills the command.
func killGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = cmd.Process.Kill() // it may be gone
	}
}

// free is unknown.
func free(string) int64 { return -1 }

// isRoot reports whether tools that change users want to.
func isRoot() bool { return false }

// oneUser reports whether they cannot.
func oneUser() bool { return false }
