package land

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// readyVersion is the format of ready, ops and modes; others are refused.
const readyVersion = 0

// ready is the mark that a landing must be finished, and how.
type ready struct {
	Version       int
	Mask          manifest.Mask
	OmitRootAttrs bool   `json:",omitempty"`
	NumericIDs    bool   `json:",omitempty"`
	TempDir       []byte `json:",omitempty"` // a path, whose bytes need not be UTF-8
	Atomic        bool   `json:",omitempty"`
	// New is the name beside the destination that the new tree has until the
	// exchange; its inode number tells which of the two it is. RootMode is what
	// it gets in the end.
	New      []byte `json:",omitempty"`
	NewIno   uint64 `json:",omitempty"`
	RootMode uint32 `json:",omitempty"`
}

func (o *Options) ready() ready {
	return ready{
		Version: readyVersion, Mask: o.Mask, OmitRootAttrs: o.OmitRootAttrs, NumericIDs: o.NumericIDs,
		TempDir: []byte(o.TempDir), Atomic: o.Atomic,
	}
}

// maxReady bounds what is read of the mark, in bytes.
const maxReady = 64 << 10

func parseReady(b []byte) (ready, error) {
	var r ready
	var v struct{ Version *int }
	if err := json.Unmarshal(b, &v); err != nil || v.Version == nil {
		return r, fault.New(fault.Integrity, "", "the mark of an interrupted landing is damaged")
	}
	if *v.Version != readyVersion {
		return r, fault.New(fault.Incompatible, "finish it with the version of ropeway that began it",
			"another version of ropeway (format %d, this one knows %d) began a landing and was interrupted", *v.Version, readyVersion)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fault.Wrap(fault.Integrity, err, "", "the mark of an interrupted landing is damaged")
	}
	if r.Atomic && (len(r.New) == 0 || r.NewIno == 0 || r.RootMode&^0o7777 != 0) {
		return r, fault.New(fault.Integrity, "", "the mark of an interrupted landing does not name the new tree")
	}
	return r, nil
}

// readMark returns the mark called name, and false when there is none.
func readMark(state *fsys.Dir, name string) (ready, bool, error) {
	f, _, err := state.OpenFile(name)
	if fsys.IsNotExist(err) {
		return ready{}, false, nil
	} else if err != nil {
		return ready{}, false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxReady))
	if err != nil {
		return ready{}, false, err
	}
	r, err := parseReady(b)
	return r, err == nil, err
}

// writeMark stores a mark durably.
func (a *Area) writeMark(name string, r *ready) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(b) > maxReady {
		return errors.New("land: mark is too long")
	}
	if err := a.replace(nameMarkTmp, name, b); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	return nil
}

// replace gives a file of the state directory new content, durably, in one
// step.
func (a *Area) replace(tmp, name string, b []byte) error {
	if err := a.d.discard(a.state, tmp); err != nil {
		return err
	}
	f, err := a.d.create(a.state, tmp, 0o600)
	if err != nil {
		return err
	}
	err = a.d.write(f, b)
	if err == nil {
		err = a.d.fsync(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := a.d.rename(a.state, tmp, a.state, name); err != nil {
		return err
	}
	return a.d.syncDir(a.state)
}
