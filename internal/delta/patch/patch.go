// Package patch makes one tree of another's content: a difference between all
// of what the new tree does not share with the old one (its misses) and all of
// what the old one has and the new one no longer uses (the leftovers).
//
// Files of equal content cost nothing here: whoever knows both trees copies
// them (see Identity). All other files of the new tree are targets. Archives and
// ELF files among them are opened by package container, against the old file
// that is likeliest to be their older version; a recipe tells how they are put
// together again, and only units that changed are left. The contents of these
// units, and of all other targets, one after the other, are the fresh stream.
// Likewise what the old tree has left is one run of bytes, the leftovers.
//
// A patch is a head and windows. The head lists targets, sources (the old files
// that leftovers come from) and recipes, and how the fresh stream is cut. Each
// window makes one piece of it, at most MaxWindow bytes, from ranges of the
// leftovers that it names, by package bytediff. It is independent of all others:
// made, verified, kept and made again alone.
//
//	sender:    p, _ := patch.New(ctx, old, fresh, patch.Options{})
//	           p.Head(), then p.Window(ctx, i) for i in [0, p.Windows())
//	receiver:  h, _ := patch.ParseHead(head)
//	           a := patch.NewApplier(h, old); a.Apply(ctx, windows, create)
//
// Every window carries a check of its base and the digest of its content, every
// target its digest. What does not agree is a *MismatchError, which names window
// and file; the caller gets those files in another way. No byte is trusted
// before: heads and windows come from a peer, all lengths are bounded.
//
// Output is deterministic. Memory: New and Window take at most 512 MiB together,
// whatever the trees, and Applier at most 128 MiB, both besides what the lists of
// files and the archives' directories take (about 100 bytes for an entry).
//
// docs/patch-format.md describes the encoding.
package patch

import (
	"errors"
	"fmt"
	"io"

	"github.com/ropeway/ropeway/internal/digest"
)

// Version is the version of the encoding, the first byte of a head.
const Version = 1

const (
	// MaxWindow bounds the content of a window, in bytes.
	MaxWindow = 32 << 20
	// MaxHead bounds an encoded head, in bytes.
	MaxHead = 64 << 20
	// MaxCoded bounds an encoded window, in bytes.
	MaxCoded = MaxWindow + 4<<20
	// MaxFiles bounds targets and sources of a patch.
	MaxFiles = 1 << 20
	// maxBase bounds the base of a window, in bytes.
	maxBase = 40 << 20
	// maxRecipes bounds the recipes of a patch, in bytes; files beyond are not
	// opened.
	maxRecipes = 24 << 20
	// maxNames bounds the names in a head, in bytes.
	maxNames = 24 << 20
)

var (
	// ErrFormat is returned for a head or window that is malformed.
	ErrFormat = errors.New("malformed patch")
	// ErrVersion is returned for a head of another version.
	ErrVersion = errors.New("patch of an unknown version")
)

// File is a regular file of a tree.
type File struct {
	Path   string // with slashes
	Size   int64  // bytes
	Digest digest.Digest
}

// Source is an open file.
type Source interface {
	io.ReaderAt
	io.Closer
}

// Tree is a set of files. Open may be called from several goroutines.
type Tree struct {
	Files []File // in order of paths, see manifest.Compare
	Open  func(path string) (Source, error)
}

// MismatchError says that something is not what the patch was made from, or
// for, so that its result would be wrong.
type MismatchError struct {
	Window int    // -1: no window in particular
	Path   string // of the base or target; "" if it is not known which
	Base   bool   // the base differs, not the result
	Err    error  // why, unless it was simply another content
}

func (e *MismatchError) Error() string {
	what := "the content made is not what the patch says"
	if e.Base {
		what = "not what the patch was made from"
	}
	if e.Path != "" {
		what = e.Path + ": " + what
	}
	if e.Window >= 0 {
		what = fmt.Sprintf("window %d: %s", e.Window, what)
	}
	if e.Err != nil {
		what += ": " + e.Err.Error()
	}
	return what
}

func (e *MismatchError) Unwrap() error { return e.Err }
