package lab

import (
	"io/fs"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

func terminate(cmd *exec.Cmd) error { return cmd.Process.Kill() }

func isOurs(fs.FileInfo) bool { return true }
