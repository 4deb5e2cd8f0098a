package filter

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
)

const (
	maxFile  = 16 << 20 // bytes of a file of rules or paths, comments included
	maxMerge = 32       // files that merge each other
)

// merge adds the rules of a file; self also excludes the file by its name.
func (b *Builder) merge(name string, self bool, m, from source) error {
	switch {
	case name == "":
		return from.refuse("", "merge rule without the name of a file")
	case b.Open == nil:
		return from.refuse("", "merge of %.200q: rule files can not be read here", name)
	case m.depth > maxMerge:
		return from.refuse("", "merge of %.200q: more than %d files merge each other", name, maxMerge)
	}
	if self {
		if err := b.add(0, name[strings.LastIndexByte(name, '/')+1:], from); err != nil {
			return err
		}
	}
	r, err := b.Open(name)
	if err != nil {
		return fault.Wrap(fault.Usage, err, "", "%s: merge of %.200q", from.at(), name)
	}
	defer r.Close()
	return b.read(r, name, m)
}

// read adds the rules of a file.
func (b *Builder) read(r io.Reader, name string, from source) error {
	return readLines(r, name, b.nul, func(line, where string) error {
		from.where = where
		if !from.words {
			if line[0] == '#' || line[0] == ';' {
				return nil
			}
			return b.rule(line, from)
		}
		for word := range strings.FieldsFuncSeq(line, func(c rune) bool { return c < 128 && isSpace(byte(c)) }) {
			if err := b.rule(word, from); err != nil {
				return err
			}
		}
		return nil
	})
}

// readLines calls each for the lines of r that are not empty, with the file's
// name and the number of the line.
func readLines(r io.Reader, name string, nul bool, each func(line, where string) error) error {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fault.Wrap(fault.Usage, err, "", "%s", name)
	}
	if len(data) > maxFile {
		return fault.New(fault.Usage, "", "%s: the file is larger than %d bytes", name, maxFile)
	}
	ends := "\r\n"
	if nul {
		ends = "\x00"
	}
	for n := 1; len(data) > 0; n++ {
		line, rest := data, []byte(nil)
		if i := bytes.IndexAny(data, ends); i >= 0 {
			line, rest = data[:i], data[i+1:]
			if data[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
				rest = rest[1:]
			}
		}
		if len(line) > 0 {
			if err := each(string(line), fmt.Sprintf("%s:%d", name, n)); err != nil {
				return err
			}
		}
		data = rest
	}
	return nil
}
