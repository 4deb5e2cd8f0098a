package deflate

// tree is a prefix code that is built for a block (trees.c). Which of the
// possible optimal codes it is depends on the order of the heap's operations.
type tree struct {
	freq [heapSize]uint16
	code [heapSize]code
	dad  [heapSize]uint16
	max  int // the largest symbol with a code

	// What kind of tree it is.
	elems  int // number of symbols
	base   int // the first symbol with extra bits
	extra  []uint8
	static []code // the fixed code; nil if there is none
	most   uint16 // bits of a code
}

// builder has what building trees needs, and counts what the block will take.
type builder struct {
	lit, dist, bl tree

	heap    [heapSize]int
	heapLen int
	heapMax int
	depth   [heapSize]uint8
	count   [maxBits + 1]uint16

	optLen, staticLen int // bits with own and with fixed codes
}

func (b *builder) init() {
	b.lit.elems, b.lit.base, b.lit.extra, b.lit.static, b.lit.most = numLitLen, endBlock+1, extraLen[:], tables.lit[:], maxBits
	b.dist.elems, b.dist.base, b.dist.extra, b.dist.static, b.dist.most = numDist, 0, extraDist[:], tables.dist[:], maxBits
	b.bl.elems, b.bl.base, b.bl.extra, b.bl.most = numBits, 0, extraBits[:], maxBL
}

// reset starts a block.
func (b *builder) reset() {
	clear(b.lit.freq[:numLitLen])
	clear(b.dist.freq[:numDist])
	clear(b.bl.freq[:numBits])
	b.lit.freq[endBlock] = 1
	b.optLen, b.staticLen = 0, 0
}

// build makes the code of t's frequencies.
func (b *builder) build(t *tree) {
	b.heapLen, b.heapMax = 0, heapSize
	t.max = -1
	for n := range t.elems {
		if t.freq[n] == 0 {
			t.code[n].len = 0
			continue
		}
		b.heapLen++
		b.heap[b.heapLen] = n
		t.max = n
		b.depth[n] = 0
	}
	for b.heapLen < 2 { // a code has two symbols at least, or inflate would not take it
		n := 0
		if t.max < 2 {
			t.max++
			n = t.max
		}
		b.heapLen++
		b.heap[b.heapLen] = n
		t.freq[n] = 1
		b.depth[n] = 0
		b.optLen--
		if t.static != nil {
			b.staticLen -= int(t.static[n].len)
		}
	}
	for n := b.heapLen / 2; n >= 1; n-- {
		b.down(t, n)
	}
	node := t.elems
	for {
		n := b.heap[1]
		b.heap[1] = b.heap[b.heapLen]
		b.heapLen--
		b.down(t, 1)
		m := b.heap[1]
		b.heapMax--
		b.heap[b.heapMax] = n
		b.heapMax--
		b.heap[b.heapMax] = m
		t.freq[node] = t.freq[n] + t.freq[m]
		b.depth[node] = max(b.depth[n], b.depth[m]) + 1
		t.dad[n], t.dad[m] = uint16(node), uint16(node)
		b.heap[1] = node
		node++
		b.down(t, 1)
		if b.heapLen < 2 {
			break
		}
	}
	b.heapMax--
	b.heap[b.heapMax] = b.heap[1]
	b.lengths(t)
	assign(t.code[:t.max+1], &b.count)
}

// down restores the order of the heap below k.
func (b *builder) down(t *tree, k int) {
	v := b.heap[k]
	for j := k << 1; j <= b.heapLen; j <<= 1 {
		if j < b.heapLen && b.smaller(t, b.heap[j+1], b.heap[j]) {
			j++
		}
		if b.smaller(t, v, b.heap[j]) {
			break
		}
		b.heap[k] = b.heap[j]
		k = j
	}
	b.heap[k] = v
}

func (b *builder) smaller(t *tree, n, m int) bool {
	return t.freq[n] < t.freq[m] || t.freq[n] == t.freq[m] && b.depth[n] <= b.depth[m]
}

// lengths gives every symbol the length of its code, t.most at most
// (gen_bitlen).
func (b *builder) lengths(t *tree) {
	clear(b.count[:])
	overflow := 0
	h := b.heapMax
	t.code[b.heap[h]].len = 0
	for h++; h < heapSize; h++ {
		n := b.heap[h]
		bits := t.code[t.dad[n]].len + 1
		if bits > t.most {
			bits = t.most
			overflow++
		}
		t.code[n].len = bits
		if n > t.max {
			continue
		}
		b.count[bits]++
		extra := 0
		if n >= t.base {
			extra = int(t.extra[n-t.base])
		}
		f := int(t.freq[n])
		b.optLen += f * (int(bits) + extra)
		if t.static != nil {
			b.staticLen += f * (int(t.static[n].len) + extra)
		}
	}
	if overflow == 0 {
		return
	}
	for ; overflow > 0; overflow -= 2 {
		bits := t.most - 1
		for b.count[bits] == 0 {
			bits--
		}
		b.count[bits]--
		b.count[bits+1] += 2
		b.count[t.most]--
	}
	for bits := t.most; bits != 0; bits-- {
		for n := b.count[bits]; n != 0; {
			h--
			m := b.heap[h]
			if m > t.max {
				continue
			}
			if t.code[m].len != bits {
				b.optLen += (int(bits) - int(t.code[m].len)) * int(t.freq[m])
				t.code[m].len = bits
			}
			n--
		}
	}
}

// runs calls f for the code lengths of t in the form in which they are sent: a
// symbol of the code of code lengths, and the number that its extra bits say.
func (t *tree) runs(f func(symbol, extra int)) {
	prev, next := -1, int(t.code[0].len)
	count, most, least := 0, 7, 4
	if next == 0 {
		most, least = 138, 3
	}
	for n := 0; n <= t.max; n++ {
		cur := next
		next = 0xffff // of nothing
		if n < t.max {
			next = int(t.code[n+1].len)
		}
		if count++; count < most && cur == next {
			continue
		}
		switch {
		case count < least:
			for ; count != 0; count-- {
				f(cur, 0)
			}
		case cur != 0:
			if cur != prev {
				f(cur, 0)
				count--
			}
			f(16, count-3)
		case count <= 10:
			f(17, count-3)
		default:
			f(18, count-11)
		}
		count, prev = 0, cur
		switch {
		case next == 0:
			most, least = 138, 3
		case cur == next:
			most, least = 6, 3
		default:
			most, least = 7, 4
		}
	}
}

// buildAll makes the codes of a block of the frequencies in lit and dist. It
// returns how many lengths of bl are sent.
func (b *builder) buildAll() int {
	b.build(&b.lit)
	b.build(&b.dist)
	count := func(symbol, _ int) { b.bl.freq[symbol]++ }
	b.lit.runs(count)
	b.dist.runs(count)
	b.build(&b.bl)
	n := numBits
	for n > 4 && b.bl.code[bitOrder[n-1]].len == 0 {
		n--
	}
	b.optLen += 3*n + 5 + 5 + 4
	return n
}
