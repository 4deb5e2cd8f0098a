package fsys

import (
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"
)

// checkName refuses names that are paths, and on Windows those that it would
// change, split or take for a device.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0 {
		return ErrName
	}
	if runtime.GOOS == "windows" {
		return checkWindowsName(name)
	}
	return nil
}

// checkWindowsName refuses what Windows cannot hold under exactly this name.
func checkWindowsName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w: Windows holds only valid UTF-8", ErrName)
	}
	for _, r := range name {
		if r < ' ' || strings.ContainsRune(`<>:"/\|?*`, r) {
			return fmt.Errorf("%w: Windows does not allow %q", ErrName, r)
		}
	}
	if strings.TrimRight(name, ". ") != name {
		return fmt.Errorf("%w: Windows drops a dot or space at the end", ErrName)
	}
	if isDevice(name) {
		return fmt.Errorf("%w: Windows takes this name for a device", ErrName)
	}
	return nil
}

// isDevice reports whether Windows takes name for a device, with whatever
// extension.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, ok := strings.CutPrefix(base, "COM")
	if !ok {
		port, ok = strings.CutPrefix(base, "LPT")
	}
	if !ok {
		return false
	}
	switch port {
	case "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³":
		return true
	}
	return false
}
