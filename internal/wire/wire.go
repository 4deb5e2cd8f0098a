// Package wire holds the messages of the native protocol and their bounds.
//
// A plan is asked for by one POST whose body is two frames, a PlanRequest and
// a Base, and is answered by a stream of frames: Work at least once a second
// while the sender scans and hashes, Segments of the plan, and one ending:
// Unchanged, End, Need or Fail. docs/protocol.md is the specification.
//
// Everything a peer sends is bounded before it is allocated.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ropeway/ropeway/internal/digest"
)

const (
	// Protocol is the version that both sides must share.
	Protocol = 0
	// ProtocolHeader carries the version in requests and answers.
	ProtocolHeader = "Ropeway-Protocol"
	// LanesHeader in any answer is the number of lanes that the server lets the
	// client's process have from now on; 0 is as many as it likes.
	LanesHeader = "Ropeway-Lanes"
	// PlanType is the media type of plan requests and answers.
	PlanType = "application/vnd.ropeway.plan"
	// MaxFrame bounds a frame, in bytes.
	MaxFrame = 4 << 20
	// MaxInline bounds the changes that travel inside a Base, in bytes; longer
	// ones are uploaded as segments.
	MaxInline = 256 << 10
	// MaxUpload bounds one uploaded segment, in bytes, compressed.
	MaxUpload = 1 << 20
	// MaxUploads bounds the segments of one base.
	MaxUploads = 4096
	// MaxFilter bounds the filter's text, in bytes.
	MaxFilter = 1 << 20
)

// Kind is the type of a frame.
type Kind byte

// The kinds of frames.
const (
	KindRequest   Kind = 'Q' // PlanRequest
	KindBase      Kind = 'B' // Base
	KindWork      Kind = 'W' // Work
	KindSegment   Kind = 'S' // Segment
	KindNeed      Kind = 'N' // Need
	KindUnchanged Kind = 'U' // End, with no segments before it
	KindEnd       Kind = 'E' // End
	KindFail      Kind = 'F' // Fail
	KindWarn      Kind = 'A' // Warn
)

// ErrFrame is returned for a frame that is malformed or over its bounds.
var ErrFrame = errors.New("wire: malformed frame")

// WriteFrame writes one frame in one Write.
func WriteFrame(w io.Writer, k Kind, payload []byte) error {
	b := make([]byte, 0, len(payload)+6)
	b = append(b, byte(k))
	b = binary.AppendUvarint(b, uint64(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// ReadFrame reads one frame. io.EOF means that the stream ended between
// frames.
func ReadFrame(r *bufio.Reader) (Kind, []byte, error) {
	k, n, err := ReadHead(r, MaxFrame)
	if err != nil {
		return 0, nil, err
	}
	b, err := ReadPayload(r, n)
	return k, b, err
}

// ReadHead reads the kind of a frame and the length of its payload, which may
// be at most most bytes and is to be read by ReadPayload. io.EOF means that
// the stream ended between frames.
func ReadHead(r *bufio.Reader, most int) (Kind, int, error) {
	k, err := r.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, 0, noEOF(err)
	}
	if n > uint64(most) {
		return 0, 0, fmt.Errorf("%w: %d bytes", ErrFrame, n)
	}
	return Kind(k), int(n), nil
}

// ReadPayload reads n bytes. Memory follows what has arrived, not what the
// peer announced.
func ReadPayload(r io.Reader, n int) ([]byte, error) {
	var b []byte
	for len(b) < n {
		at := len(b)
		b = append(b, make([]byte, min(n-at, 64<<10))...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return nil, noEOF(err)
		}
	}
	return b, nil
}

// SegmentHead returns the start of a KindSegment frame, up to the segment's
// body of n bytes, which is to follow.
func SegmentHead(index uint64, n int) []byte {
	var m builder
	m.num(1, index)
	if n > 0 {
		m.b = protowire.AppendVarint(protowire.AppendTag(m.b, 2, protowire.BytesType), uint64(n))
	}
	b := []byte{byte(KindSegment)}
	b = binary.AppendUvarint(b, uint64(len(m.b)+n))
	return append(b, m.b...)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// PlanRequest names the wanted tree and how it is to be read.
type PlanRequest struct {
	Job       string // the client's choice: 8 to 64 letters and digits
	From      uint64 // first segment that is wanted; above 0 only to continue a running job
	Path      string // within the module; "" is its root
	One       bool   // Path's last component alone: a single file, or a directory as an entry
	Mask      uint8  // manifest.Mask
	Recursive bool
	OmitRoot  bool // the root's own attributes do not matter
	Filter    []byte
	Whole     bool // no differences against the receiver's files
	Fresh     bool // read all content again
	Fast      bool // the link outruns compression
	Patch     Patching
	Rate      int64 // what the link carries, as far as the client knows, in bytes per second; 0: unknown
}

// Patching says whether a plan may have a patch.
type Patching uint8

// The choices.
const (
	PatchNever  Patching = iota // the client has no use for one
	PatchPays                   // if it takes less time than what it saves
	PatchAlways                 // whatever time it takes: bytes are dear
)

// Base says what the receiver holds.
type Base struct {
	Tree    digest.Digest   // of the tree it landed last; zero: nothing
	Uploads []digest.Digest // instead of Tree: uploaded segments that list everything held
	Changes []byte          // one segment body (manifest.Encoder), compressed: what differs from Tree or Uploads
}

// Work says what the sender is doing. Counters never fall.
type Work struct {
	Stage string
	Files int64
	Bytes int64
	Total int64
}

// Segment is a part of the plan: a compressed segment body.
type Segment struct {
	Index uint64
	Body  []byte
}

// Need tells the client what the sender must have first.
type Need struct {
	Base    bool            // the base is not known: upload it
	Uploads []digest.Digest // these are missing
}

// End closes a plan.
type End struct {
	Tree     digest.Digest
	Segments uint64
	Entries  int64
	Files    int64
	Bytes    int64 // of the tree's files
	Skipped  int64 // sockets, devices and the like left out
	Partial  bool  // something could not be read: nothing must be deleted for being absent
}

// Fail ends a plan that could not be made.
type Fail struct {
	Class string
	Text  string
	Hint  string
}

// Warn is a remark about one path at the sender.
type Warn struct {
	Path string
	Text string
}

// parse walks a message's fields; unknown ones are skipped.
func parse(b []byte, f func(num protowire.Number, v uint64, b []byte) error) error {
	for len(b) > 0 {
		num, typ, k := protowire.ConsumeTag(b)
		if k < 0 {
			return ErrFrame
		}
		b = b[k:]
		var err error
		switch typ {
		case protowire.VarintType:
			var v uint64
			if v, k = protowire.ConsumeVarint(b); k >= 0 {
				err = f(num, v, nil)
			}
		case protowire.BytesType:
			var v []byte
			if v, k = protowire.ConsumeBytes(b); k >= 0 {
				err = f(num, 0, v)
			}
		default:
			k = protowire.ConsumeFieldValue(num, typ, b)
		}
		if k < 0 {
			return ErrFrame
		}
		if err != nil {
			return err
		}
		b = b[k:]
	}
	return nil
}

type builder struct{ b []byte }

func (m *builder) num(f protowire.Number, v uint64) {
	if v != 0 {
		m.b = protowire.AppendVarint(protowire.AppendTag(m.b, f, protowire.VarintType), v)
	}
}

func (m *builder) bool(f protowire.Number, v bool) {
	if v {
		m.num(f, 1)
	}
}

func (m *builder) bytes(f protowire.Number, v []byte) {
	if len(v) > 0 {
		m.raw(f, v)
	}
}

func (m *builder) raw(f protowire.Number, v []byte) {
	m.b = protowire.AppendBytes(protowire.AppendTag(m.b, f, protowire.BytesType), v)
}

// Marshal returns the payload of a KindRequest frame.
func (p *PlanRequest) Marshal() []byte {
	var m builder
	m.bytes(1, []byte(p.Job))
	m.num(2, p.From)
	m.bytes(3, []byte(p.Path))
	m.bool(4, p.One)
	m.num(5, uint64(p.Mask))
	m.bool(6, p.Recursive)
	m.bool(7, p.OmitRoot)
	m.bytes(8, p.Filter)
	m.bool(9, p.Whole)
	m.bool(10, p.Fresh)
	m.bool(11, p.Fast)
	m.num(12, uint64(p.Patch))
	m.num(13, uint64(max(p.Rate, 0)))
	return m.b
}

// Unmarshal reads what Marshal wrote and checks it.
func (p *PlanRequest) Unmarshal(b []byte) error {
	*p = PlanRequest{}
	err := parse(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1:
			p.Job = string(b)
		case 2:
			p.From = v
		case 3:
			p.Path = string(b)
		case 4:
			p.One = v != 0
		case 5:
			p.Mask = uint8(v)
		case 6:
			p.Recursive = v != 0
		case 7:
			p.OmitRoot = v != 0
		case 8:
			p.Filter = b
		case 9:
			p.Whole = v != 0
		case 10:
			p.Fresh = v != 0
		case 11:
			p.Fast = v != 0
		case 12:
			p.Patch = Patching(min(v, 255))
		case 13:
			p.Rate = count(v)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case p.Patch > PatchAlways:
		return fmt.Errorf("%w: patching %d", ErrFrame, p.Patch)
	case !ValidJob(p.Job):
		return fmt.Errorf("%w: job id %.70q", ErrFrame, p.Job)
	case len(p.Filter) > MaxFilter:
		return fmt.Errorf("%w: filter of %d bytes", ErrFrame, len(p.Filter))
	}
	return nil
}

// ValidJob reports whether id can name a job.
func ValidJob(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// Marshal returns the payload of a KindBase frame.
func (p *Base) Marshal() []byte {
	var m builder
	if !p.Tree.IsZero() {
		m.raw(1, p.Tree[:])
	}
	for _, d := range p.Uploads {
		m.raw(2, d[:])
	}
	m.bytes(3, p.Changes)
	return m.b
}

// Unmarshal reads what Marshal wrote and checks it.
func (p *Base) Unmarshal(b []byte) error {
	*p = Base{}
	return parse(b, func(num protowire.Number, _ uint64, b []byte) (err error) {
		switch num {
		case 1:
			p.Tree, err = digest.FromBytes(b)
		case 2:
			p.Uploads, err = appendDigest(p.Uploads, b)
		case 3:
			if len(b) > MaxInline {
				return fmt.Errorf("%w: changes of %d bytes", ErrFrame, len(b))
			}
			p.Changes = b
		}
		return err
	})
}

func appendDigest(s []digest.Digest, b []byte) ([]digest.Digest, error) {
	if len(s) >= MaxUploads {
		return s, fmt.Errorf("%w: more than %d segments", ErrFrame, MaxUploads)
	}
	d, err := digest.FromBytes(b)
	return append(s, d), err
}

// Marshal returns the payload of a KindWork frame.
func (p *Work) Marshal() []byte {
	var m builder
	m.bytes(1, []byte(p.Stage))
	m.num(2, uint64(p.Files))
	m.num(3, uint64(p.Bytes))
	m.num(4, uint64(p.Total))
	return m.b
}

// Unmarshal reads what Marshal wrote and checks it.
func (p *Work) Unmarshal(b []byte) error {
	*p = Work{}
	return parse(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1:
			p.Stage = clip(b, 64)
		case 2:
			p.Files = count(v)
		case 3:
			p.Bytes = count(v)
		case 4:
			p.Total = count(v)
		}
		return nil
	})
}

func count(v uint64) int64 { return int64(min(v, 1<<62)) }

func clip(b []byte, n int) string { return string(b[:min(len(b), n)]) }

// Marshal returns the payload of a KindSegment frame.
func (p *Segment) Marshal() []byte {
	var m builder
	m.num(1, p.Index)
	m.bytes(2, p.Body)
	return m.b
}

// Unmarshal reads what Marshal wrote. Body aliases b.
func (p *Segment) Unmarshal(b []byte) error {
	*p = Segment{}
	return parse(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case 1:
			p.Index = v
		case 2:
			p.Body = b
		}
		return nil
	})
}

// Marshal returns the payload of a KindNeed frame.
func (p *Need) Marshal() []byte {
	var m builder
	m.bool(1, p.Base)
	for _, d := range p.Uploads {
		m.raw(2, d[:])
	}
	return m.b
}

// Unmarshal reads what Marshal wrote and checks it.
func (p *Need) Unmarshal(b []byte) error {
	*p = Need{}
	return parse(b, func(num protowire.Number, v uint64, b []byte) (err error) {
		switch num {
		case 1:
			p.Base = v != 0
		case 2:
			p.Uploads, err = appendDigest(p.Uploads, b)
		}
		return err
	})
}

// Marshal returns the payload of a KindEnd or KindUnchanged frame.
func (p *End) Marshal() []byte {
	var m builder
	m.raw(1, p.Tree[:])
	m.num(2, p.Segments)
	m.num(3, uint64(p.Entries))
	m.num(4, uint64(p.Files))
	m.num(5, uint64(p.Bytes))
	m.num(6, uint64(p.Skipped))
	m.bool(7, p.Partial)
	return m.b
}

// Unmarshal reads what Marshal wrote and checks it.
func (p *End) Unmarshal(b []byte) error {
	*p = End{}
	return parse(b, func(num protowire.Number, v uint64, b []byte) (err error) {
		switch num {
		case 1:
			p.Tree, err = digest.FromBytes(b)
		case 2:
			p.Segments = v
		case 3:
			p.Entries = count(v)
		case 4:
			p.Files = count(v)
		case 5:
			p.Bytes = count(v)
		case 6:
			p.Skipped = count(v)
		case 7:
			p.Partial = v != 0
		}
		return err
	})
}

// Marshal returns the payload of a KindFail frame.
func (p *Fail) Marshal() []byte {
	var m builder
	m.bytes(1, []byte(p.Class))
	m.bytes(2, []byte(p.Text))
	m.bytes(3, []byte(p.Hint))
	return m.b
}

// Unmarshal reads what Marshal wrote, cut to a printable length.
func (p *Fail) Unmarshal(b []byte) error {
	*p = Fail{}
	return parse(b, func(num protowire.Number, _ uint64, b []byte) error {
		switch num {
		case 1:
			p.Class = clip(b, 64)
		case 2:
			p.Text = clip(b, 1024)
		case 3:
			p.Hint = clip(b, 1024)
		}
		return nil
	})
}

// Marshal returns the payload of a KindWarn frame.
func (p *Warn) Marshal() []byte {
	var m builder
	m.bytes(1, []byte(p.Path))
	m.bytes(2, []byte(p.Text))
	return m.b
}

// Unmarshal reads what Marshal wrote, cut to a printable length.
func (p *Warn) Unmarshal(b []byte) error {
	*p = Warn{}
	return parse(b, func(num protowire.Number, _ uint64, b []byte) error {
		switch num {
		case 1:
			p.Path = clip(b, 4096)
		case 2:
			p.Text = clip(b, 1024)
		}
		return nil
	})
}
