// Package bytediff makes the difference between two runs of bytes of which both
// are at hand, and applies it.
//
// It finds what the new version shares with the old one, codes what is shared as
// differences, which are mostly zeros, and the rest as it is, in five streams
// for which zstd does well: the method of bsdiff (C. Percival, Naive Differences
// of Executable Code, 2003), with a hash of 16-byte seeds at every fourth old
// byte in place of the suffix array. Where the old version simply as a zstd
// dictionary gives fewer bytes, that is kept.
//
// The output depends on the input alone: the same on every machine. It is not
// checked: whoever applies a difference compares the digest of the result. But
// a difference is hostile until then: all lengths are bounded by the size that
// the caller expects, before memory is taken.
//
// A difference is
//
//	uvarint size of the new version
//	byte    0: streams, 1: dictionary
//	streams: five of
//	    uvarint raw length, and unless that is 0
//	    byte    0: as it is, 1: zstd, 2: zstd with the old version as dictionary
//	    uvarint coded length, and these bytes, unless as it is
//	dictionary: a zstd frame, with the old version as dictionary, to the end
//
// zstd frames (RFC 8878) are written without their four bytes of magic; raw
// dictionaries have number 0. The streams, in order:
//
//	control  uvarint count of runs, then three columns of as many varints: extra
//	         bytes before the run, its length, and (signed) the distance of its
//	         place in the old version from the end of the run before
//	zeros    uvarints: how many differences that are zero
//	others   uvarints: and then that are not; over all runs as if they were one
//	values   the differences that are not zero: new - old, modulo 256
//	extra    the bytes that no run makes, in order
package bytediff

import (
	"encoding/binary"
	"errors"
)

// ErrFormat is returned for a difference that is malformed, or does not fit the
// old version or the expected size.
var ErrFormat = errors.New("malformed difference")

const (
	// MaxDict bounds the old version where it serves as a dictionary, in bytes.
	MaxDict = 32 << 20
	// MaxNew bounds the new version, in bytes.
	MaxNew = 64 << 20
)

// The kinds of a difference.
const (
	kindStreams = 0
	kindDict    = 1
)

// How a stream is coded.
const (
	asIs = iota
	packed
	packedWithOld
)

// A Coder encodes differences. It keeps the memory of its compressors, about
// 40 MiB, for the next one. Not safe for concurrent use.
type Coder struct{ z *packer }

// NewCoder returns a Coder.
func NewCoder() *Coder { return &Coder{newPacker()} }

// Make returns the difference that makes fresh, at most MaxNew bytes, of old.
func (c *Coder) Make(old, fresh []byte) []byte {
	runs, err := NewIndex(old).Match(fresh, nil)
	if err != nil {
		runs = nil // no tick, no error
	}
	return c.Encode(old, fresh, runs, len(old) <= MaxDict)
}

// Encode returns the difference that makes fresh, at most MaxNew bytes, of old
// by runs, as Match returns them for these or for a longer old version. With
// dict the old version, at most MaxDict bytes, may serve as a dictionary too,
// which takes twice its length and 80 MiB of memory.
func (c *Coder) Encode(old, fresh []byte, runs []Run, dict bool) []byte {
	s := split(old, fresh, runs)
	if dict {
		c.z.setDict(old, len(fresh))
		defer c.z.setDict(nil, 0)
	}
	head := binary.AppendUvarint(nil, uint64(len(fresh)))
	best := c.streams(append(head, kindStreams), s)
	if c.z.with != nil && len(fresh) > 0 {
		if other := c.z.packWith(append(head, kindDict), fresh); len(other) < len(best) {
			best = other
		}
	}
	return best
}

func (c *Coder) streams(dst []byte, s [numStreams][]byte) []byte {
	dst = append([]byte(nil), dst...)
	for i, raw := range s {
		dst = binary.AppendUvarint(dst, uint64(len(raw)))
		if len(raw) == 0 {
			continue
		}
		how, coded := asIs, raw
		if z := c.z.pack(nil, raw); len(z) < len(coded) {
			how, coded = packed, z
		}
		if i == extra && c.z.with != nil {
			if z := c.z.packWith(nil, raw); len(z) < len(coded) {
				how, coded = packedWithOld, z
			}
		}
		dst = append(dst, byte(how))
		if how != asIs {
			dst = binary.AppendUvarint(dst, uint64(len(coded)))
		}
		dst = append(dst, coded...)
	}
	return dst
}
