package plan

import (
	"fmt"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
)

func TestCopiesFindsWhatItWasTold(t *testing.T) {
	var c copies
	if _, ok := c.path(&digest.Digest{1}); ok {
		t.Error("found in nothing")
	}
	const n = 5000
	name := func(i int) string { return fmt.Sprintf("dir%02d/sub/file%05d", i/100, i) }
	sum := func(i int) digest.Digest { return digest.Sum([]byte(fmt.Sprint(i))) }
	for i := range n {
		d := sum(i)
		if !c.add(name(i), &d) || !c.add("another/"+name(i), &d) {
			t.Fatal("full")
		}
	}
	for i := range n {
		d := sum(i)
		if p, ok := c.path(&d); !ok || p != name(i) {
			t.Fatalf("%d: %q %v", i, p, ok)
		}
		d[9] ^= 1 // the same first bytes
		if p, ok := c.path(&d); ok {
			t.Fatalf("%d: %q for another content", i, p)
		}
	}
	d := sum(n)
	if p, ok := c.path(&d); ok {
		t.Errorf("%q for what is not there", p)
	}
	if per := (len(c.text) + 12*len(c.slots) + 8*len(c.checks) + 4*len(c.blocks)) / n; per > 60 {
		t.Errorf("%d bytes a file", per)
	}
}
