package patch

import (
	"context"
	"encoding/binary"

	"github.com/ropeway/ropeway/internal/delta/bytediff"
	"github.com/ropeway/ropeway/internal/delta/column"
	"github.com/ropeway/ropeway/internal/digest"
)

const (
	maxCandidates = 96 << 20 // bytes of leftovers that are searched for one window
	wholeBase     = bytediff.MaxDict
	baseCheck     = 8  // bytes of the digest of a window's base
	contentCheck  = 16 // and of its content
)

// base is what a window is made from.
type base struct {
	extents []extent // of the leftovers
	bytes   []byte
	index   *bytediff.Index
}

// candidates returns the leftovers that are searched for the content of a
// window: all, or those that resemble it most.
func (p *Patch) candidates(ctx context.Context, fresh []byte) (*base, error) {
	if p.whole != nil {
		return p.whole, nil
	}
	all := []extent{{0, p.left.size}}
	if p.left.size == 0 {
		all = nil
	} else if p.left.size > p.most {
		if p.look == nil {
			s, err := newSketch(ctx, p.left, p.o.Tick)
			if err != nil {
				return nil, err
			}
			p.look = s
		}
		all = p.look.similar(fresh, p.most/2)
	}
	b, err := p.left.load(ctx, nil, all)
	if err != nil {
		return nil, err
	}
	x := &base{extents: all, bytes: b, index: bytediff.NewIndex(b)}
	if p.left.size <= p.most {
		p.whole = x
	}
	return x, nil
}

// Made is a window as it was made.
type Made struct {
	Coded []byte
	Costs []Cost
}

// Cost tells how much of a window's encoding is a target's.
type Cost struct {
	Target  int   // index in Head.Targets
	Bytes   int64 // of the encoding, by estimate: they add up to its length
	Content int64 // bytes of the fresh stream
	Literal int64 // of these, bytes that the base does not explain
	Dict    bool  // the base served as a dictionary, not for a byte difference
}

// Window makes window i.
func (p *Patch) Window(ctx context.Context, i int) (*Made, error) {
	from := int64(0)
	for _, w := range p.head.Windows[:i] {
		from += w
	}
	fresh, err := p.fresh.load(ctx, nil, []extent{{from, p.head.Windows[i]}})
	if err != nil {
		return nil, err
	}
	b, err := p.candidates(ctx, fresh)
	if err != nil {
		return nil, err
	}
	runs, err := b.index.Match(fresh, func(n int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return p.o.Tick(int64(n))
	})
	if err != nil {
		return nil, err
	}
	extents, bytes, runs := b.trim(runs)
	diff := p.coder.Encode(bytes, fresh, runs, len(b.bytes) <= wholeBase)

	out := binary.AppendUvarint(nil, uint64(len(extents)))
	at := int64(0)
	for _, e := range extents {
		out = binary.AppendUvarint(out, uint64(e.off-at))
		out = binary.AppendUvarint(out, uint64(e.n))
		at = e.off + e.n
	}
	if len(extents) > 0 {
		sum := digest.Sum(bytes)
		out = append(out, sum[:baseCheck]...)
	}
	sum := digest.Sum(fresh)
	out = append(out, sum[:contentCheck]...)
	out = append(out, diff...)
	return &Made{Coded: out, Costs: p.costs(from, fresh, bytes, runs, len(out), bytediff.IsDict(diff))}, nil
}

// trim leaves what the runs use of a base, with their places in that. A small
// base stays as it is: what no run uses may still serve as a dictionary.
func (b *base) trim(runs []bytediff.Run) ([]extent, []byte, []bytediff.Run) {
	if len(b.bytes) <= wholeBase {
		return b.extents, b.bytes, runs
	}
	used := make([]extent, len(runs))
	for i, r := range runs {
		used[i] = extent{int64(r.Old), int64(r.Len)}
	}
	// Runs use no more than there is content. What lies between them costs
	// memory, more ranges cost bytes.
	kept := join(used, 4<<10)
	if total(kept) > maxBase {
		kept = join(used, 0)
	}
	bytes := make([]byte, 0, total(kept))
	starts := make([]int64, len(kept)) // in the new base
	for i, e := range kept {
		starts[i] = int64(len(bytes))
		bytes = append(bytes, b.bytes[e.off:e.off+e.n]...)
	}
	moved := make([]bytediff.Run, len(runs))
	for i, r := range runs {
		k := find(kept, int64(r.Old))
		r.Old = int(starts[k] + int64(r.Old) - kept[k].off)
		moved[i] = r
	}
	return b.global(kept), bytes, moved
}

// find returns the index of the extent that holds off.
func find(list []extent, off int64) int {
	lo, hi := 0, len(list)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; list[mid].off <= off {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// global turns extents of the base's bytes into those of the leftovers.
func (b *base) global(list []extent) []extent {
	var out []extent
	at, k := int64(0), 0 // of extent k in the base's bytes
	for _, e := range list {
		for e.n > 0 {
			for e.off >= at+b.extents[k].n {
				at += b.extents[k].n
				k++
			}
			n := min(e.n, at+b.extents[k].n-e.off)
			out = append(out, extent{b.extents[k].off + e.off - at, n})
			e.off, e.n = e.off+n, e.n-n
		}
	}
	return join(out, 0)
}

// costs divides n encoded bytes among the targets whose content they make.
func (p *Patch) costs(from int64, fresh, old []byte, runs []bytediff.Run, n int, dict bool) []Cost {
	var list []Cost
	var weights []float64
	sum := 0.0
	to := from + int64(len(fresh))
	for at := from; at < to; {
		f := p.fresh.fileAt(at)
		end := to
		if f+1 < len(p.fresh.files) {
			end = min(end, p.fresh.files[f+1].at)
		}
		c := Cost{Target: f, Content: end - at, Dict: dict}
		a, e := int(at-from), int(end-from)
		literal, other := bytediff.Weigh(fresh, old, runs, a, e)
		c.Literal = int64(literal)
		w := float64(literal) + float64(other) + 4 + float64(e-a)/1000
		list, weights, sum = append(list, c), append(weights, w), sum+w
		at = end
	}
	rest := int64(n)
	for i := range list {
		list[i].Bytes = min(rest, int64(float64(n)*weights[i]/sum))
		rest -= list[i].Bytes
	}
	if len(list) > 0 {
		list[0].Bytes += rest
	}
	return list
}

// parsed is a window taken apart.
type parsed struct {
	extents []extent
	base    []byte // check
	content []byte // check
	diff    []byte
}

// parseWindow reads what Window returned, for leftovers of the given size.
func parseWindow(b []byte, left int64) (*parsed, error) {
	if len(b) > MaxCoded {
		return nil, ErrFormat
	}
	r := column.Reader{B: b}
	w := &parsed{}
	n := r.Count(len(b) / 2)
	at, sum := int64(0), int64(0)
	for range n {
		gap, size := r.Int64(), r.Int64()
		if r.Bad || size == 0 || size > maxBase || gap > left-at || size > left-at-gap {
			return nil, ErrFormat
		}
		if sum += size; sum > maxBase {
			return nil, ErrFormat
		}
		w.extents = append(w.extents, extent{at + gap, size})
		at += gap + size
	}
	if n > 0 {
		w.base = r.Take(baseCheck)
	}
	w.content = r.Take(contentCheck)
	if r.Bad {
		return nil, ErrFormat
	}
	w.diff = r.B
	return w, nil
}
