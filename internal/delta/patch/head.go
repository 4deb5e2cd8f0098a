package patch

import (
	"encoding/binary"
	"math"

	"github.com/ropeway/ropeway/internal/delta/column"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// checkLen is how many bytes of a file's digest a head carries: enough that
// chance never agrees. Proof is the business of whoever knows the whole digest.
const checkLen = 8

type check [checkLen]byte

func checkOf(d digest.Digest) check { return check(d[:checkLen]) }

// Target is a file that a patch makes.
type Target struct {
	Path  string
	Size  int64 // bytes
	Fresh int64 // bytes of the fresh stream that it takes, Size if it is plain

	check  check
	base   int // index of the source that its recipe is for, -1 for none
	plain  bool
	recipe []byte
}

// Check reports whether d begins as the digest of the target does.
func (t *Target) Check(d digest.Digest) bool { return checkOf(d) == t.check }

// Origin is an old file that leftovers come from.
type Origin struct {
	Path string
	Size int64 // bytes
	Left int64 // bytes of the leftovers, Size if it is plain

	check  check
	user   int // index of the target whose recipe tells what is left, -1 for none
	recipe []byte
	plain  bool
}

// Check reports whether d begins as the digest of the origin does.
func (o *Origin) Check(d digest.Digest) bool { return checkOf(d) == o.check }

// Head is the table of contents of a patch.
type Head struct {
	Targets []Target // in order of paths
	Origins []Origin // in order of paths
	Windows []int64  // bytes of the fresh stream that each makes, in order
}

// Fresh returns the length of the fresh stream.
func (h *Head) Fresh() (n int64) {
	for _, w := range h.Windows {
		n += w
	}
	return n
}

// Span returns the windows that target i needs: from, and up to but not to.
func (h *Head) Span(i int) (from, to int) {
	at := int64(0)
	for _, t := range h.Targets[:i] {
		at += t.Fresh
	}
	if h.Targets[i].Fresh == 0 {
		return 0, 0
	}
	end := at + h.Targets[i].Fresh
	for from < len(h.Windows) && h.Windows[from] <= at {
		at, end = at-h.Windows[from], end-h.Windows[from]
		from++
	}
	for to = from; to < len(h.Windows) && end > 0; to++ {
		end -= h.Windows[to]
	}
	return from, to
}

// The columns of a head.
const (
	colNames   = iota // lengths of common beginnings, lengths of rests, flags
	colText           // the rests of names
	colNumbers        // all other numbers
	colChecks
	colRecipes
	numCols
)

// Flags of a name in a head.
const (
	isTarget = 1 << iota
	isOrigin
	opened    // the target has a recipe
	hasBase   // which is for an old file: of the same name, unless
	elsewhere // that follows, an index of origins
	spared    // the origin was opened: its leftovers are some of its units
	reduced   // by a recipe of its own, not that of a target
	allFlags  = 1<<iota - 1
)

// encode returns the encoded head.
func (h *Head) encode() []byte {
	var c [numCols][]byte
	last := ""
	t, o := 0, 0
	for t < len(h.Targets) || o < len(h.Origins) {
		path, flags := "", byte(0)
		var order int
		switch {
		case t == len(h.Targets):
			order = 1
		case o == len(h.Origins):
			order = -1
		default:
			order = manifest.Compare(h.Targets[t].Path, h.Origins[o].Path)
		}
		if order <= 0 {
			path = h.Targets[t].Path
			flags |= h.Targets[t].flags(order == 0, o)
		}
		if order >= 0 {
			path = h.Origins[o].Path
			flags |= h.Origins[o].flags()
		}
		same := prefix(last, path)
		c[colNames] = binary.AppendUvarint(c[colNames], uint64(same))
		c[colNames] = binary.AppendUvarint(c[colNames], uint64(len(path)-same))
		c[colNames] = append(c[colNames], flags)
		c[colText] = append(c[colText], path[same:]...)
		last = path
		if order <= 0 {
			h.Targets[t].encode(&c, flags)
			t++
		}
		if order >= 0 {
			h.Origins[o].encode(&c, flags)
			o++
		}
	}
	out := []byte{Version}
	for _, n := range []int{len(h.Targets), len(h.Origins), len(h.Windows)} {
		out = binary.AppendUvarint(out, uint64(n))
	}
	for _, w := range h.Windows {
		out = binary.AppendUvarint(out, uint64(w))
	}
	for _, raw := range c {
		out = column.Append(out, raw)
	}
	sum := digest.Sum(out)
	return append(out, sum[:16]...)
}

func (t *Target) flags(same bool, o int) byte {
	f := byte(isTarget)
	if !t.plain {
		f |= opened
		if t.base >= 0 {
			f |= hasBase
			if !same || t.base != o {
				f |= elsewhere
			}
		}
	}
	return f
}

func (o *Origin) flags() byte {
	f := byte(isOrigin)
	if !o.plain {
		f |= spared
		if o.user < 0 {
			f |= reduced
		}
	}
	return f
}

func (t *Target) encode(c *[numCols][]byte, flags byte) {
	n := &c[colNumbers]
	*n = binary.AppendUvarint(*n, uint64(t.Size))
	if flags&opened != 0 {
		*n = binary.AppendUvarint(*n, uint64(t.Fresh))
		*n = binary.AppendUvarint(*n, uint64(len(t.recipe)))
		c[colRecipes] = append(c[colRecipes], t.recipe...)
	}
	if flags&elsewhere != 0 {
		*n = binary.AppendUvarint(*n, uint64(t.base))
	}
	c[colChecks] = append(c[colChecks], t.check[:]...)
}

func (o *Origin) encode(c *[numCols][]byte, flags byte) {
	n := &c[colNumbers]
	*n = binary.AppendUvarint(*n, uint64(o.Size))
	if !o.plain {
		*n = binary.AppendUvarint(*n, uint64(o.Left))
	}
	if flags&reduced != 0 {
		*n = binary.AppendUvarint(*n, uint64(len(o.recipe)))
		c[colRecipes] = append(c[colRecipes], o.recipe...)
	}
	c[colChecks] = append(c[colChecks], o.check[:originCheck]...)
}

// originCheck is how many bytes of an origin's digest are kept: they only help
// to tell which file is another.
const originCheck = 4

func prefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// ParseHead reads what Head returned. It keeps no part of b.
func ParseHead(b []byte) (*Head, error) {
	if len(b) == 0 {
		return nil, ErrFormat
	}
	if b[0] != Version {
		return nil, ErrVersion
	}
	if len(b) > MaxHead || len(b) < 17 {
		return nil, ErrFormat
	}
	body, sum := b[:len(b)-16], b[len(b)-16:]
	if d := digest.Sum(body); string(d[:16]) != string(sum) {
		return nil, ErrFormat
	}
	r := &column.Reader{B: body[1:]}
	targets, origins, windows := r.Count(MaxFiles), r.Count(MaxFiles), r.Count(len(body))
	h := &Head{}
	for range windows {
		w := r.Uvarint()
		if r.Bad || w == 0 || w > MaxWindow {
			return nil, ErrFormat
		}
		h.Windows = append(h.Windows, int64(w))
	}
	var c [numCols]*column.Reader
	names := targets + origins
	limits := [numCols]int{5 * names, maxNames, min(24*names, maxNames), checkLen * names, maxRecipes}
	for i := range c {
		raw := r.Column(limits[i])
		if r.Bad {
			return nil, ErrFormat
		}
		c[i] = &column.Reader{B: raw}
	}
	if len(r.B) > 0 {
		return nil, ErrFormat
	}
	if err := h.parse(c, targets, origins); err != nil {
		return nil, err
	}
	return h, h.validate()
}

func (h *Head) parse(c [numCols]*column.Reader, targets, origins int) error {
	last := ""
	for len(h.Targets) < targets || len(h.Origins) < origins {
		same, rest := c[colNames].Uvarint(), c[colNames].Uvarint()
		flags := c[colNames].Byte()
		text := c[colText].Take(rest)
		if c[colNames].Bad || c[colText].Bad || same > uint64(len(last)) || same+rest > manifest.MaxPath ||
			flags&^allFlags != 0 || flags&(isTarget|isOrigin) == 0 {
			return ErrFormat
		}
		path := last[:same] + string(text)
		if path == "" || manifest.CheckPath(path) != nil || last != "" && manifest.Compare(last, path) >= 0 {
			return ErrFormat
		}
		last = path
		at := len(h.Origins)
		if flags&isTarget != 0 {
			t := Target{Path: path, Size: c[colNumbers].Int64(), base: -1, plain: flags&opened == 0}
			t.Fresh = t.Size
			if !t.plain {
				t.Fresh = c[colNumbers].Int64()
				t.recipe = c[colRecipes].Take(c[colNumbers].Uvarint())
			}
			switch {
			case flags&elsewhere != 0:
				t.base = int(min(c[colNumbers].Uvarint(), MaxFiles))
			case flags&hasBase != 0:
				t.base = at
			}
			copy(t.check[:], c[colChecks].Take(checkLen))
			h.Targets = append(h.Targets, t)
		}
		if flags&isOrigin != 0 {
			o := Origin{Path: path, Size: c[colNumbers].Int64(), user: -1, plain: flags&spared == 0}
			o.Left = o.Size
			if !o.plain {
				o.Left = c[colNumbers].Int64()
			}
			if flags&reduced != 0 {
				o.recipe = c[colRecipes].Take(c[colNumbers].Uvarint())
			}
			copy(o.check[:], c[colChecks].Take(originCheck))
			h.Origins = append(h.Origins, o)
		}
		if c[colNumbers].Bad || c[colRecipes].Bad || c[colChecks].Bad {
			return ErrFormat
		}
	}
	for _, r := range c {
		if len(r.B) > 0 {
			return ErrFormat
		}
	}
	return nil
}

// validate checks what parse has read for sense.
func (h *Head) validate() error {
	fresh := int64(0)
	for i := range h.Targets {
		t := &h.Targets[i]
		if t.Size > manifest.MaxSize || t.Fresh > manifest.MaxSize || t.base >= len(h.Origins) || t.plain != (t.recipe == nil) {
			return ErrFormat
		}
		if fresh += t.Fresh; fresh > math.MaxInt64/4 {
			return ErrFormat
		}
		if t.base < 0 {
			continue
		}
		o := &h.Origins[t.base]
		if o.user >= 0 || o.recipe != nil || o.plain {
			return ErrFormat
		}
		o.user = i
	}
	left := int64(0)
	for i := range h.Origins {
		o := &h.Origins[i]
		if o.Size > manifest.MaxSize || o.Left > manifest.MaxSize || !o.plain && (o.user < 0) != (o.recipe != nil) || o.plain && o.recipe != nil {
			return ErrFormat
		}
		if left += o.Left; left > math.MaxInt64/4 {
			return ErrFormat
		}
	}
	if fresh != h.Fresh() {
		return ErrFormat
	}
	return nil
}

// Opened reports whether the target was seen into: a recipe makes it.
func (t *Target) Opened() bool { return !t.plain }
