package plan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/ropeway/ropeway/internal/digest"
)

// A pack holds the contents of small files one after the other, in frames that
// are compressed each on its own:
//
//	4 bytes stored length, 4 bytes length, big-endian, then the stored bytes:
//	a zstd frame, or the bytes themselves when both lengths agree.
//
// Packs end where a hash of the path says so, within limits. The same tree so
// gives the same packs, and a changed file changes one of them: what a killed
// job has staged is found again by digest.
const (
	packMin    = 1 << 20
	packTarget = 4 << 20
	maxPackRaw = packTarget + PackMax
	frameRaw   = 256 << 10
	cutMask    = 1<<6 - 1 // one path in 64 may end a pack that is large enough
)

// packer collects the members of one pack.
type packer struct {
	seq     uint64
	raw     []byte
	members int
}

// add appends a file's content and returns its offset.
func (p *packer) add(data []byte) int64 {
	at := int64(len(p.raw))
	p.raw = append(p.raw, data...)
	p.members++
	return at
}

// full reports whether the pack ends after the file with the given path.
func (p *packer) full(path string) bool {
	if len(p.raw) >= packTarget {
		return true
	}
	if len(p.raw) < packMin {
		return false
	}
	d := digest.Sum([]byte(path))
	return d[0]&cutMask == 0
}

// encodePack returns the stored form of raw.
func encodePack(enc *zstd.Encoder, raw []byte) []byte {
	out := make([]byte, 0, len(raw)/2+1024)
	for len(raw) > 0 {
		part := raw[:min(len(raw), frameRaw)]
		raw = raw[len(part):]
		head := len(out)
		out = append(out, 0, 0, 0, 0, 0, 0, 0, 0)
		out = enc.EncodeAll(part, out)
		if len(out)-head-8 >= len(part) {
			out = append(out[:head+8], part...)
		}
		binary.BigEndian.PutUint32(out[head:], uint32(len(out)-head-8))
		binary.BigEndian.PutUint32(out[head+4:], uint32(len(part)))
	}
	return out
}

func newPackEncoder(level zstd.EncoderLevel) *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(level), zstd.WithWindowSize(frameRaw), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		panic("plan: " + err.Error()) // only for bad options, which these are not
	}
	return enc
}

var errPack = errors.New("plan: malformed pack")

// Unpacker yields the uncompressed bytes of a pack. It is an io.Reader; Close
// frees its memory. Not safe for concurrent use.
type Unpacker struct {
	r     io.Reader
	dec   *zstd.Decoder
	in    []byte
	out   []byte
	rest  []byte
	total int64
}

// NewUnpacker reads the stored form of a pack from r.
func NewUnpacker(r io.Reader) *Unpacker {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(frameRaw), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("plan: " + err.Error()) // only for bad options, which these are not
	}
	return &Unpacker{dec: dec, r: r}
}

// Read implements io.Reader.
func (u *Unpacker) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		if err := u.frame(); err != nil {
			return 0, err
		}
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

func (u *Unpacker) frame() error {
	var head [8]byte
	if _, err := io.ReadFull(u.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return errPack
	}
	stored, raw := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if raw == 0 || raw > frameRaw || stored > raw {
		return fmt.Errorf("%w: frame of %d bytes in %d", errPack, raw, stored)
	}
	if u.total += int64(raw); u.total > maxPackRaw {
		return fmt.Errorf("%w: more than %d bytes", errPack, maxPackRaw)
	}
	if cap(u.in) < frameRaw {
		u.in, u.out = make([]byte, frameRaw), make([]byte, 0, frameRaw)
	}
	in := u.in[:stored]
	if _, err := io.ReadFull(u.r, in); err != nil {
		return errPack
	}
	if stored == raw {
		u.rest = in
		return nil
	}
	out, err := u.dec.DecodeAll(in, u.out[:0])
	if err != nil || len(out) != int(raw) {
		return fmt.Errorf("%w: frame does not decode", errPack)
	}
	u.rest = out
	return nil
}

// Close frees the unpacker's memory.
func (u *Unpacker) Close() { u.dec.Close() }
