// Package config knows where ropeway keeps its files and what a server is
// told to serve. It reads no environment by itself and keeps no state.
package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
)

// Paths are the directories that ropeway uses. All are absolute. They need
// not exist, except those below the temporary directory.
type Paths struct {
	Config string // settings that a person writes
	State  string // keys, tokens, what must survive
	Cache  string // what can be rebuilt
}

// name is the last element of most directories.
const name = "ropeway"

// host is what Locate asks of the system, apart from the environment.
type host struct {
	os  string
	uid int // -1 where there is none
	tmp string
}

// Locate finds the directories from the environment that getenv looks up.
//
// Each directory is the first of: the XDG variable + /ropeway; the directory
// that systemd gave the unit (STATE_DIRECTORY and its like); the usual place
// below HOME, or below APPDATA and LOCALAPPDATA on Windows; for root /etc,
// /var/lib and /var/cache + /ropeway; a directory of this user alone below
// the temporary one. The last is created with mode 0700; when it exists and
// is not private to this user, Locate returns a Denied fault.
func Locate(getenv func(string) string) (Paths, error) {
	h := host{os: runtime.GOOS, uid: os.Geteuid(), tmp: getenv("TMPDIR")}
	if !filepath.IsAbs(h.tmp) {
		h.tmp = "/tmp"
	}
	if h.os == "windows" {
		h.tmp = getenv("TEMP")
	}
	return locate(getenv, h)
}

// place says where to look for one directory.
type place struct {
	xdg, unit, home, app, root, tmp string
}

var places = [3]place{
	{"XDG_CONFIG_HOME", "CONFIGURATION_DIRECTORY", ".config", "APPDATA", "/etc", "config"},
	{"XDG_STATE_HOME", "STATE_DIRECTORY", ".local/state", "LOCALAPPDATA", "/var/lib", "state"},
	{"XDG_CACHE_HOME", "CACHE_DIRECTORY", ".cache", "LOCALAPPDATA", "/var/cache", "cache"},
}

func locate(getenv func(string) string, h host) (Paths, error) {
	var found [3]string
	for i, p := range places {
		dir := p.find(getenv, h)
		if dir == "" {
			base, err := private(h)
			if err != nil {
				return Paths{}, err
			}
			dir = filepath.Join(base, p.tmp)
		}
		found[i] = dir
	}
	return Paths{Config: found[0], State: found[1], Cache: found[2]}, nil
}

// find returns "" when only the temporary directory is left.
func (p place) find(getenv func(string) string, h host) string {
	if d := getenv(p.xdg); filepath.IsAbs(d) {
		return filepath.Join(d, name)
	}
	// systemd separates several directories by colons; the first is the main one.
	if d, _, _ := strings.Cut(getenv(p.unit), ":"); h.os != "windows" && filepath.IsAbs(d) {
		return filepath.Clean(d)
	}
	if h.os == "windows" {
		if d := getenv(p.app); filepath.IsAbs(d) {
			if p.tmp == "config" {
				return filepath.Join(d, name)
			}
			return filepath.Join(d, name, p.tmp)
		}
	}
	if d := getenv("HOME"); isHome(d) {
		return filepath.Join(d, filepath.FromSlash(p.home), name)
	}
	if h.uid == 0 {
		return filepath.Join(p.root, name)
	}
	return ""
}

// isHome refuses what service users have for a home: "/", "/nonexistent".
func isHome(d string) bool {
	if !filepath.IsAbs(d) || filepath.Clean(d) == string(filepath.Separator) {
		return false
	}
	fi, err := os.Stat(d)
	return err == nil && fi.IsDir()
}

// private returns a directory below the temporary one that only this user can
// enter. Anyone can create that name first, hence the checks.
func private(h host) (string, error) {
	if !filepath.IsAbs(h.tmp) {
		return "", fault.New(fault.Usage, "set HOME or XDG_STATE_HOME", "no directory for ropeway's files")
	}
	dir := filepath.Join(h.tmp, name)
	if h.uid >= 0 {
		dir += "-" + strconv.Itoa(h.uid)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", fault.Wrap(fault.Other, err, "set HOME or XDG_STATE_HOME", "no directory for ropeway's files")
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return "", fault.Wrap(fault.Other, err, "set HOME or XDG_STATE_HOME", "no directory for ropeway's files")
	}
	if !ownedPrivately(fi, h.uid) {
		return "", fault.New(fault.Denied, "set HOME or XDG_STATE_HOME, or remove the directory",
			"%s is not a directory of this user alone", dir)
	}
	return dir, nil
}

func ownedPrivately(fi fs.FileInfo, uid int) bool {
	if !fi.IsDir() {
		return false
	}
	owner, ok := ownerOf(fi)
	return !ok || owner == uid && fi.Mode().Perm()&0o077 == 0
}
