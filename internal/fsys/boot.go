package fsys

import (
	"os"
	"runtime"
	"strings"
)

// BootID names the time since this machine started: what was written since
// then is in memory or on disk, synced or not, as long as the name is the same.
// It is "" where the system does not tell.
func BootID() string {
	if runtime.GOOS != "linux" {
		return ""
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
