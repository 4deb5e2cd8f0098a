// Package container opens archives, so that a difference sees what is in them
// and not how they were packed.
//
// A file is parsed into items that cover each of its bytes exactly once: the
// headers of zip and tar archives (and of archives in them), and units, runs of
// bytes that a patch copies or brings: the content of an entry, a section of an
// ELF file, whatever lies between, a whole file that is no container. Parsing
// never fails on account of the content: what is malformed, hostile or beyond
// the limits is one unit of plain bytes.
//
// Diff tells how a new file is made of an old one. What it returns has two
// parts. The recipe holds the order of things, headers coded as columns that are
// predicted from the old file's, and which units are copied. The fresh units are
// what the old file does not have: a patch must bring their content, for which
// the spare units of the old file, those that the new one does not copy, are the
// natural dictionary. The content of a deflated unit is what it inflates to,
// wherever deflating that again was seen to give the same bytes.
//
//	sender:    d, _ := container.Diff(new, old)     // both parsed by Parse
//	           code d.Recipe, and all d.Fresh (Unit.Open) against all d.Spare
//	receiver:  spare, _ := container.Spare(recipe, old)
//	           container.Rebuild(recipe, old, fresh, w) // fresh: the content of all d.Fresh, in order
//
// Everything is deterministic: equal inputs give equal recipes. Layouts are safe
// for concurrent use by any number of readers once they are parsed.
package container

import (
	"errors"
	"io"
)

// Limits. Beyond them a container is plain bytes.
const (
	// MaxItems bounds the headers and units of one file.
	MaxItems = 1 << 19
	// MaxDirectory bounds the central directories of a file's zip archives, in
	// bytes.
	MaxDirectory = 24 << 20
	// MaxDepth bounds how deep archives lie in archives.
	MaxDepth = 4
	// MaxRecipe bounds an encoded recipe, in bytes.
	MaxRecipe = 32 << 20
)

// ErrFormat is returned for a recipe that is malformed or does not fit the old
// file or the fresh content.
var ErrFormat = errors.New("malformed recipe")

// Unit is a run of a file's bytes with the content that a difference looks at.
type Unit struct {
	// Offset and Length tell where its bytes lie in its file.
	Offset, Length int64
	// Size is the length of its content in bytes. It differs from Length only
	// where Inflate is set.
	Size int64
	// Inflate is set if the content is what its bytes, a raw deflate stream,
	// inflate to.
	Inflate bool
	// Ref is, in a fresh unit, the index in Delta.Spare of the old unit of the
	// same name, the likeliest to resemble it; -1 if there is none.
	Ref int
}

// Delta tells how a new file is made of an old one.
type Delta struct {
	// Recipe is the encoded way to rebuild the new file, at most MaxRecipe
	// bytes. It is not yet compressed and is worth it.
	Recipe []byte
	// Fresh lists the units of the new file that the patch must bring, in the
	// order in which Rebuild reads their content.
	Fresh []Unit
	// Spare lists the units of the old file that the new one does not copy, in
	// the order of the old file. Spare makes the same list of the recipe.
	Spare []Unit
}

// Open returns a reader of the unit's content, Size bytes, from its file. It
// returns io.ErrUnexpectedEOF if the file is no longer what was parsed.
func (u Unit) Open(file io.ReaderAt) io.Reader { return openUnit(u, file) }
