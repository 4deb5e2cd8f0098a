package trial

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/ropeway/ropeway/internal/lab/report"
)

// machine describes where we are; what is unknown is empty.
func machine() report.Machine {
	m := report.Machine{OS: runtime.GOOS, Cores: runtime.NumCPU(), CPU: runtime.GOARCH}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil || len(b) > 1<<20 {
			return ""
		}
		return string(b)
	}
	m.Kernel = strings.TrimSpace(read("/proc/sys/kernel/osrelease"))
	if model := after(read("/proc/cpuinfo"), "model name"); model != "" {
		m.CPU = model
	}
	if kb, _, ok := strings.Cut(after(read("/proc/meminfo"), "MemTotal"), " "); ok {
		n, _ := strconv.ParseInt(kb, 10, 64)
		m.Memory = n << 10
	}
	if load, _, ok := strings.Cut(read("/proc/loadavg"), " "); ok {
		m.Load, _ = strconv.ParseFloat(load, 64)
	}
	return m
}

// after is the value of the first line "name : value".
func after(text, name string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
