package server

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fsys"
)

func TestStateOfKilledServersIsRemoved(t *testing.T) {
	tmp := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{"ropeway-serve-dead", "ropeway-serve-alive", "ropeway-serve-young", "ropeway-serve-foreign", "other"} {
		dir := filepath.Join(tmp, name)
		write(t, filepath.Join(dir, "objects", "x"), "x")
		if name != "ropeway-serve-foreign" {
			write(t, filepath.Join(dir, "lock"), "")
		}
		if name != "ropeway-serve-young" {
			if err := os.Chtimes(dir, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	outside := t.TempDir()
	write(t, filepath.Join(outside, "lock"), "")
	if err := os.Symlink(outside, filepath.Join(tmp, "ropeway-serve-link")); err != nil {
		t.Skip(err)
	}
	alive, err := fsys.OpenDir(filepath.Join(tmp, "ropeway-serve-alive"))
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	lock, err := alive.Lock("lock")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Unlock() }()
	removeDead(context.Background(), tmp, time.Now())
	for name, want := range map[string]bool{
		"ropeway-serve-dead": false, "ropeway-serve-alive": true, "ropeway-serve-young": true,
		"ropeway-serve-foreign": true, "other": true, "ropeway-serve-link": true,
	} {
		if _, err := os.Lstat(filepath.Join(tmp, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(outside, "lock")); err != nil {
		t.Error("followed a symlink")
	}
}
