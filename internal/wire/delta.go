package wire

import (
	"fmt"
	"net/url"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// The difference between a file at the sender and an older version of it at the
// receiver is asked for by one POST whose body is a signature of the older
// version. The answer is a stream of frames: Work at least once a second, then
// either one Refine, which asks for smaller blocks of some ranges, or Parts. It
// ends with a KindDone frame. Without Parts, a difference would not pay.
const (
	KindRefine Kind = 'R' // Refine
	KindPart   Kind = 'D' // Part
	KindDone   Kind = 'X' // no payload: the answer is complete

	// DeltaType is the media type of the answers.
	DeltaType = "application/vnd.ropeway.delta"
	// MaxSignature bounds a signature, in bytes.
	MaxSignature = 2 << 20
	// MaxInlinePart bounds the parts that stand in one answer, in bytes; others
	// are objects to get.
	MaxInlinePart = 64 << 10
)

// DeltaRef says of what the difference is wanted: of a file, as its spans are
// named, or of a pack's content.
type DeltaRef struct {
	Span  SpanRef       // Offset is 0; used unless Pack is set
	Pack  digest.Digest // zero: of a file
	State digest.Digest // of the Refine that asked for this second look; zero: the first
}

// Query returns the reference as the query of a request.
func (d DeltaRef) Query() string {
	var q string
	if d.Pack.IsZero() {
		q = d.Span.Query()
	} else {
		q = "k=" + d.Pack.String()
	}
	if !d.State.IsZero() {
		q += "&s=" + d.State.String()
	}
	return q
}

// ParseDeltaRef reads what Query wrote and checks it.
func ParseDeltaRef(q url.Values) (d DeltaRef, err error) {
	if q.Has("s") {
		if d.State, err = digest.Parse(q.Get("s")); err != nil {
			return d, err
		}
	}
	if q.Has("k") {
		d.Pack, err = digest.Parse(q.Get("k"))
		return d, err
	}
	if d.Span, err = ParseSpanRef(q); err == nil && d.Span.Offset != 0 {
		err = fmt.Errorf("wire: a difference begins at 0")
	}
	return d, err
}

// Refine asks for a second signature. Its request names State.
type Refine struct {
	State  digest.Digest
	Gaps   int64  // bytes of the new version that are not found
	Ranges []byte // of the old version, encoded; they are what to sign
}

// Marshal returns the payload of a KindRefine frame.
func (p *Refine) Marshal() []byte {
	var m builder
	m.raw(1, p.State[:])
	m.num(2, uint64(p.Gaps))
	m.bytes(3, p.Ranges)
	return m.b
}

// Unmarshal reads what Marshal wrote. Ranges aliases b.
func (p *Refine) Unmarshal(b []byte) error {
	*p = Refine{}
	return parse(b, func(num protowire.Number, v uint64, b []byte) (err error) {
		switch num {
		case 1:
			p.State, err = digest.FromBytes(b)
		case 2:
			p.Gaps = count(v)
		case 3:
			p.Ranges = b
		}
		return err
	})
}

// Part announces what makes the bytes [Off, Off+Len) of the new version: Data,
// or, when that is empty, an object of the module.
type Part struct {
	Off, Len int64
	Data     []byte
	Object   digest.Object
}

// Marshal returns the payload of a KindPart frame.
func (p *Part) Marshal() []byte {
	var m builder
	m.num(1, uint64(p.Off))
	m.num(2, uint64(p.Len))
	if len(p.Data) > 0 {
		m.bytes(3, p.Data)
		return m.b
	}
	m.raw(4, p.Object.ID[:])
	m.num(5, uint64(p.Object.Size))
	blocks := make([]byte, 0, len(p.Object.Blocks)*digest.Size)
	for _, cv := range p.Object.Blocks {
		blocks = append(blocks, cv[:]...)
	}
	m.bytes(6, blocks)
	return m.b
}

// Unmarshal reads what Marshal wrote and checks it. Data aliases b.
func (p *Part) Unmarshal(b []byte) error {
	*p = Part{}
	o := &p.Object
	err := parse(b, func(num protowire.Number, v uint64, b []byte) (err error) {
		switch num {
		case 1:
			p.Off = count(v)
		case 2:
			p.Len = count(v)
		case 3:
			p.Data = b
		case 4:
			o.ID, err = digest.FromBytes(b)
		case 5:
			o.Size = count(v)
		case 6:
			if len(b)%digest.Size != 0 {
				return ErrFrame
			}
			for ; len(b) > 0; b = b[digest.Size:] {
				o.Blocks = append(o.Blocks, digest.Digest(b[:digest.Size]))
			}
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case p.Len == 0 || p.Off > manifest.MaxSize || p.Len > manifest.MaxSize:
		return ErrFrame
	case len(p.Data) > 0:
		if len(p.Data) > MaxInlinePart || o.Size != 0 || len(o.Blocks) > 0 {
			return ErrFrame
		}
		return nil
	}
	o.Root = true
	return o.Check()
}
