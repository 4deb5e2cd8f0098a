package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
)

func TestRestartOfTheMachineDropsTheSpools(t *testing.T) {
	if fsys.BootID() == "" {
		t.Skip("this system does not tell when it was started")
	}
	path := t.TempDir()
	dir, err := fsys.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	id := digest.Sum([]byte("object"))
	open := func() (*Store, error) {
		st, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		o, err := st.Objects().Open("m", id)
		if err == nil {
			_ = o.Close()
		}
		return st, err
	}
	st, _ := open()
	b := st.Objects().Begin("m", "")
	if err := errors.Join(b.Put(id, []byte("object")), b.Sync(), st.Close()); err != nil {
		t.Fatal(err)
	}
	st, err = open()
	if err != nil {
		t.Errorf("after a restart of the process: %v", err)
	}
	_ = st.Close()
	if err := os.WriteFile(filepath.Join(path, bootName), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err = open()
	if !errors.Is(err, ErrGone) {
		t.Errorf("after a restart of the machine: %v", err)
	}
	_ = st.Close()
}
