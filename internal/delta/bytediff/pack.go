package bytediff

import (
	"bytes"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// magic begins every zstd frame.
const magic = "\x28\xb5\x2f\xfd"

const (
	minWindow = 8 << 20
	maxWindow = 64 << 20 // what a frame may refer back to: dictionary and content
)

// packer makes zstd frames, always the same for the same input.
type packer struct {
	plain *zstd.Encoder
	dict  []byte
	with  *zstd.Encoder // for dict, nil if there is none
}

func newPacker() *packer { return &packer{plain: newEncoder(minWindow)} }

func newEncoder(window int, o ...zstd.EOption) *zstd.Encoder {
	o = append(o, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
	enc, err := zstd.NewWriter(nil, o...)
	if err != nil {
		panic("bytediff: options that zstd refuses: " + err.Error()) // constants all
	}
	return enc
}

// setDict prepares for packWith: of at most size bytes.
func (p *packer) setDict(dict []byte, size int) {
	p.dict, p.with = dict, nil
	if len(dict) > 0 {
		window := max(minWindow, 1<<bits.Len(uint(len(dict)+size-1)))
		p.with = newEncoder(min(window, maxWindow), zstd.WithEncoderDictRaw(0, dict))
	}
}

// pack appends the frame of raw to dst.
func (p *packer) pack(dst, raw []byte) []byte { return frame(p.plain, dst, raw) }

// packWith is pack with the dictionary that was set.
func (p *packer) packWith(dst, raw []byte) []byte { return frame(p.with, dst, raw) }

func frame(enc *zstd.Encoder, dst, raw []byte) []byte {
	at := len(dst)
	dst = enc.EncodeAll(raw, dst[:at:at])
	return append(dst[:at], bytes.TrimPrefix(dst[at:], []byte(magic))...)
}

// unpack returns the content of a frame, which must be size bytes long. It
// takes no more memory than that and the window.
func unpack(dst, frame, dict []byte, size int) ([]byte, error) {
	o := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(maxWindow), // and no more than the room for it is ever written
	}
	if len(dict) > 0 {
		o = append(o, zstd.WithDecoderDictRaw(0, dict))
	}
	dec, err := zstd.NewReader(nil, o...)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	whole := append(append(make([]byte, 0, len(magic)+len(frame)), magic...), frame...)
	out, err := dec.DecodeAll(whole, room(dst, size))
	if err != nil || len(out) != size {
		return nil, ErrFormat
	}
	return out, nil
}
