// Package patchfile is the file that `ropeway patch make` writes: what turns
// one file or directory into another, whole and by itself, to be carried by any
// means. It is a listing of what differs in names and attributes, and a patch of
// content (package patch), window by window, so that it can be written and read
// as a stream.
//
// Directories, regular files and symlinks are covered, with permissions and, if
// wanted, modification times; owners are not. The digest of the new tree, which
// covers all of that, is in the listing: what Apply makes is compared with it
// before anything appears under its name.
//
// docs/patch-format.md describes the encoding.
package patchfile

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/ropeway/ropeway/internal/delta/patch"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
)

const (
	magic   = "ropeway patch\n"
	version = 1
)

var errFormat = errors.New("malformed listing")

// Content says what became of a file's content.
type Content struct {
	Path    string // in the new tree
	Method  Method
	From    string // where the content comes from, if that is another path
	Size    int64  // bytes of the file
	Cost    int64  // bytes of the patch that are the file's, by estimate
	Literal int64  // bytes of content that the old tree does not explain
}

// Method is how a file's content is brought over.
type Method string

// The methods.
const (
	Same      Method = "same"       // nothing is to do
	Copied    Method = "copied"     // the old tree has it under another path, as well
	Moved     Method = "moved"      // and not under that path any more
	Container Method = "container"  // an archive or ELF file was opened, its parts patched
	ByteDiff  Method = "bytes"      // a difference of bytes
	Dict      Method = "dictionary" // compressed with the old bytes as dictionary
	Whole     Method = "whole"      // nothing old was of use
)

// Report tells what a patch is made of.
type Report struct {
	OldFiles, NewFiles int64
	OldBytes, NewBytes int64 // of all files
	Patch              int64 // bytes of the patch
	Listing            int64 // of these, names, attributes and tables
	Windows            int64
	Deleted            int64 // entries
	Attributes         int64 // entries of which only attributes differ
	Skipped            int64 // entries that are no file, directory or symlink
	Content            []Content
	Tree               digest.Digest // of the new tree or file
}

// head writes what comes before the windows and returns its length.
func writeHead(w io.Writer, list, head []byte) (int64, error) {
	out := append([]byte(magic), version)
	sum := digest.Sum(list)
	out = binary.AppendUvarint(out, uint64(len(list)))
	out = append(append(out, list...), sum[:16]...)
	out = binary.AppendUvarint(out, uint64(len(head)))
	out = append(out, head...)
	n, err := w.Write(out)
	return int64(n), err
}

// stream reads a patch file.
type stream struct {
	r    byteReader
	list *listing
	head *patch.Head
	next int // window
}

type byteReader interface {
	io.Reader
	io.ByteReader
}

// damaged is the error for a patch file that cannot be used.
func damaged(what string) error {
	return fault.New(fault.Integrity, "get the patch file again", "the patch file is damaged or cut off: %s", what)
}

// openStream reads what comes before the windows.
func openStream(r byteReader) (*stream, error) {
	begin := make([]byte, len(magic)+1)
	if _, err := io.ReadFull(r, begin); err != nil || string(begin[:len(magic)]) != magic {
		return nil, fault.New(fault.Usage, "", "this is not a patch file of ropeway")
	}
	if v := begin[len(magic)]; v != version {
		return nil, fault.New(fault.Incompatible, "use the ropeway that made it, or a later one",
			"the patch file has format version %d, this ropeway reads version %d", v, version)
	}
	s := &stream{r: r}
	b, err := s.chunk(maxListing + 16)
	if err != nil || len(b) < 16 {
		return nil, damaged("the listing")
	}
	sum := make([]byte, 16)
	if _, err := io.ReadFull(r, sum); err != nil {
		return nil, damaged("the listing")
	}
	if d := digest.Sum(b); string(d[:16]) != string(sum) {
		return nil, damaged("the listing")
	}
	if s.list, err = parseListing(b); err != nil {
		return nil, damaged("the listing")
	}
	if b, err = s.chunk(patch.MaxHead); err != nil {
		return nil, damaged("the table of contents")
	}
	s.head, err = patch.ParseHead(b)
	if errors.Is(err, patch.ErrVersion) {
		return nil, fault.New(fault.Incompatible, "use the ropeway that made it, or a later one", "the patch file has contents of an unknown version")
	}
	if err != nil {
		return nil, damaged("the table of contents")
	}
	return s, nil
}

// chunk reads a length of at most most, and so many bytes. A lie about the
// length takes no more memory than what is there.
func (s *stream) chunk(most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(s.r)
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, errFormat
	}
	var b []byte
	for uint64(len(b)) < n {
		part := min(n-uint64(len(b)), max(1<<20, uint64(len(b))))
		at := len(b)
		b = append(b, make([]byte, part)...)
		if _, err := io.ReadFull(s.r, b[at:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// window reads on to window i.
func (s *stream) window(i int) ([]byte, error) {
	for {
		if s.next > i {
			return nil, damaged("its windows are not in order")
		}
		b, err := s.chunk(patch.MaxCoded)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errFormat) {
				return nil, damaged("a window")
			}
			return nil, err
		}
		if s.next++; s.next > i {
			return b, nil
		}
	}
}

// end wants nothing but the windows that were not needed to follow.
func (s *stream) end() error {
	if n := len(s.head.Windows); s.next < n {
		if _, err := s.window(n - 1); err != nil {
			return err
		}
	}
	if _, err := s.r.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged("something follows its end")
	}
	return nil
}
