package manifest

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ropeway/ropeway/internal/digest"
)

// Op says what a record does to the list that it is applied to.
type Op uint8

// The operations. Their values are part of the wire format.
const (
	Put Op = 0 // the entry is as the record says
	Del Op = 1 // the path and everything below it is gone
	// Note changes nothing: Ext says something of the path. Only plans have it,
	// and it need not follow the canonical order.
	Note Op = 2
)

// Stat is what a local file system said of an entry when its digest was
// taken. An entry whose Stat is unchanged is taken to be unchanged. The zero
// value matches nothing.
type Stat struct {
	Size  int64
	Sec   int64 // modification time
	Nsec  uint32
	CSec  int64 // change time
	CNsec uint32
	Ino   uint64
	Dev   uint64
}

// IsZero reports whether s is the zero value.
func (s Stat) IsZero() bool { return s == Stat{} }

// Record is one line of a manifest, an index, a list of changes or a plan.
type Record struct {
	Op Op
	Entry
	Stat Stat   // index and changes: the local state; otherwise zero
	Ext  []byte // plan: how to make the content; opaque here
}

// MaxExt bounds Record.Ext, in bytes.
const MaxExt = 1 << 20

// Field numbers of a record in protobuf wire format.
const (
	fOp     = 1
	fShared = 2 // bytes of the path shared with the previous record
	fSuffix = 3
	fType   = 4
	fDigest = 5
	fSize   = 6
	fTarget = 7
	fMode   = 8
	fSec    = 9
	fNsec   = 10
	fUID    = 11 // owner fields are left out when equal to the previous record's
	fGID    = 12
	fUser   = 13
	fGroup  = 14
	fStat   = 15
	fExt    = 16
)

// Encoder packs records into the body of one segment. Paths are coded against
// the previous record's, so a segment can be read only from its start.
type Encoder struct {
	buf     []byte
	scratch []byte
	prev    Record
	count   int
}

// Append adds a record. Records of a segment are in canonical order.
func (e *Encoder) Append(r *Record) {
	b := e.scratch[:0]
	if r.Op != Put {
		b = putVarint(b, fOp, uint64(r.Op))
	}
	shared := 0
	if e.count > 0 {
		for n := min(len(r.Path), len(e.prev.Path)); shared < n && r.Path[shared] == e.prev.Path[shared]; {
			shared++
		}
	}
	b = putVarint(b, fShared, uint64(shared))
	b = protowire.AppendTag(b, fSuffix, protowire.BytesType)
	b = protowire.AppendString(b, r.Path[shared:])
	if r.Op == Put {
		b = e.appendEntry(b, &r.Entry)
	}
	if !r.Stat.IsZero() {
		b = appendStat(b, &r.Stat)
	}
	if len(r.Ext) > 0 {
		b = protowire.AppendTag(b, fExt, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Ext)
	}
	e.buf = protowire.AppendVarint(e.buf, uint64(len(b)))
	e.buf = append(e.buf, b...)
	e.scratch = b
	path := r.Path
	if r.Op == Put {
		e.prev.Entry = r.Entry
	}
	e.prev.Path = path
	e.count++
}

func (e *Encoder) appendEntry(b []byte, r *Entry) []byte {
	b = putVarint(b, fType, uint64(r.Type))
	if r.Type == File {
		b = protowire.AppendTag(b, fDigest, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Digest[:])
		b = putVarint(b, fSize, uint64(r.Size))
	}
	if r.Target != "" {
		b = putString(b, fTarget, r.Target)
	}
	b = putVarint(b, fMode, uint64(r.Mode))
	b = putVarint(b, fSec, protowire.EncodeZigZag(r.Sec))
	if r.Nsec != 0 {
		b = putVarint(b, fNsec, uint64(r.Nsec))
	}
	if r.UID != e.prev.UID {
		b = putVarint(b, fUID, uint64(r.UID))
	}
	if r.GID != e.prev.GID {
		b = putVarint(b, fGID, uint64(r.GID))
	}
	if r.User != e.prev.User {
		b = putString(b, fUser, r.User)
	}
	if r.Group != e.prev.Group {
		b = putString(b, fGroup, r.Group)
	}
	return b
}

func appendStat(b []byte, s *Stat) []byte {
	var v []byte
	v = protowire.AppendVarint(v, uint64(s.Size))
	v = protowire.AppendVarint(v, protowire.EncodeZigZag(s.Sec))
	v = protowire.AppendVarint(v, uint64(s.Nsec))
	v = protowire.AppendVarint(v, protowire.EncodeZigZag(s.CSec))
	v = protowire.AppendVarint(v, uint64(s.CNsec))
	v = protowire.AppendVarint(v, s.Ino)
	v = protowire.AppendVarint(v, s.Dev)
	b = protowire.AppendTag(b, fStat, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func putVarint(b []byte, f protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), v)
}

func putString(b []byte, f protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), s)
}

// Len returns the bytes packed so far.
func (e *Encoder) Len() int { return len(e.buf) }

// Count returns the records packed so far.
func (e *Encoder) Count() int { return e.count }

// Take returns the packed body, valid until the next Append, and starts a new
// segment.
func (e *Encoder) Take() []byte {
	b := e.buf
	e.buf = e.buf[:0]
	e.prev = Record{}
	e.count = 0
	return b
}

// Decoder reads the records of one segment body and checks each: a body comes
// from a peer or from a disk that may lie.
type Decoder struct {
	rest []byte
	prev Record
	path []byte
}

// NewDecoder returns a decoder of body, which it keeps.
func NewDecoder(body []byte) *Decoder { return &Decoder{rest: body} }

var errRecord = errors.New("manifest: malformed record")

// Next fills r with the next record; io.EOF at the end. r.Ext aliases the
// body, everything else is copied.
func (d *Decoder) Next(r *Record) error {
	if len(d.rest) == 0 {
		return io.EOF
	}
	n, k := protowire.ConsumeVarint(d.rest)
	if k < 0 || n > uint64(len(d.rest)-k) {
		return errRecord
	}
	body := d.rest[k : k+int(n)]
	d.rest = d.rest[k+int(n):]
	*r = Record{}
	r.UID, r.GID, r.User, r.Group = d.prev.UID, d.prev.GID, d.prev.User, d.prev.Group
	shared := uint64(0)
	var suffix []byte
	for len(body) > 0 {
		num, typ, k := protowire.ConsumeTag(body)
		if k < 0 {
			return errRecord
		}
		body = body[k:]
		switch typ {
		case protowire.VarintType:
			v, k := protowire.ConsumeVarint(body)
			if k < 0 {
				return errRecord
			}
			body = body[k:]
			if num == fShared {
				shared = v
			} else if err := r.setVarint(num, v); err != nil {
				return err
			}
		case protowire.BytesType:
			v, k := protowire.ConsumeBytes(body)
			if k < 0 {
				return errRecord
			}
			body = body[k:]
			if num == fSuffix {
				suffix = v
			} else if err := r.setBytes(num, v, &d.prev); err != nil {
				return err
			}
		default:
			k := protowire.ConsumeFieldValue(num, typ, body)
			if k < 0 {
				return errRecord
			}
			body = body[k:]
		}
	}
	if shared > uint64(len(d.path)) || len(suffix) > MaxPath {
		return errRecord
	}
	d.path = append(d.path[:shared], suffix...)
	r.Path = string(d.path)
	if r.Op == Put {
		if err := r.Check(); err != nil {
			return err
		}
		d.prev.UID, d.prev.GID, d.prev.User, d.prev.Group = r.UID, r.GID, r.User, r.Group
	} else {
		r.Entry = Entry{Path: r.Path}
		if err := CheckPath(r.Path); err != nil {
			return err
		}
	}
	return nil
}

func (r *Record) setVarint(num protowire.Number, v uint64) error {
	small := v <= 1<<32-1
	switch num {
	case fOp:
		if v > uint64(Note) {
			return fmt.Errorf("manifest: unknown operation %d", v)
		}
		r.Op = Op(v)
	case fType:
		if v > 255 {
			return errRecord
		}
		r.Type = Type(v)
	case fSize:
		if v > MaxSize {
			return errRecord
		}
		r.Size = int64(v)
	case fMode:
		if !small {
			return errRecord
		}
		r.Mode = uint32(v)
	case fSec:
		r.Sec = protowire.DecodeZigZag(v)
	case fNsec:
		if !small {
			return errRecord
		}
		r.Nsec = uint32(v)
	case fUID:
		if !small {
			return errRecord
		}
		r.UID = uint32(v)
	case fGID:
		if !small {
			return errRecord
		}
		r.GID = uint32(v)
	}
	return nil
}

func (r *Record) setBytes(num protowire.Number, v []byte, prev *Record) error {
	switch num {
	case fDigest:
		d, err := digest.FromBytes(v)
		if err != nil {
			return err
		}
		r.Digest = d
	case fTarget:
		if len(v) > MaxTarget {
			return errRecord
		}
		r.Target = string(v)
	case fUser, fGroup:
		if len(v) > MaxUser {
			return errRecord
		}
		if num == fUser {
			r.User = intern(v, prev.User)
		} else {
			r.Group = intern(v, prev.Group)
		}
	case fStat:
		return r.Stat.decode(v)
	case fExt:
		if len(v) > MaxExt {
			return errRecord
		}
		r.Ext = v
	}
	return nil
}

func intern(v []byte, old string) string {
	if string(v) == old {
		return old
	}
	return string(v)
}

func (s *Stat) decode(b []byte) error {
	var v [7]uint64
	for i := range v {
		n, k := protowire.ConsumeVarint(b)
		if k < 0 {
			return errRecord
		}
		v[i], b = n, b[k:]
	}
	*s = Stat{
		Size: int64(v[0]), Sec: protowire.DecodeZigZag(v[1]), Nsec: uint32(v[2]),
		CSec: protowire.DecodeZigZag(v[3]), CNsec: uint32(v[4]), Ino: v[5], Dev: v[6],
	}
	return nil
}

// Ordered checks that paths arrive in strictly rising canonical order.
type Ordered struct {
	last  string
	begun bool
}

// Check returns an error when path does not come after all before it.
func (o *Ordered) Check(path string) error {
	if o.begun && Compare(o.last, path) >= 0 {
		return fmt.Errorf("manifest: %q does not follow %q", path, o.last)
	}
	o.last, o.begun = strings.Clone(path), true
	return nil
}
