package column

import (
	"bytes"
	"testing"
)

func FuzzColumn(f *testing.F) {
	f.Add([]byte("abc"), []byte{})
	f.Add(bytes.Repeat([]byte("abc"), 1000), []byte{200, 200, 3, 4, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, raw, hostile []byte) {
		b := Append([]byte{7}, raw)
		r := Reader{B: append(b, 9)}
		if r.Byte() != 7 || !bytes.Equal(r.Column(len(raw)), raw) || r.Byte() != 9 || r.Bad || len(r.B) != 0 {
			t.Errorf("a column of %d bytes does not come back", len(raw))
		}
		if len(raw) > 0 {
			if r = (Reader{B: b[1:]}); r.Column(len(raw)-1) != nil || !r.Bad {
				t.Error("a column that is too long is read")
			}
		}
		r = Reader{B: hostile}
		if got := r.Column(1 << 16); len(got) > 1<<16 {
			t.Errorf("%d bytes", len(got))
		}
		_, _, _, _ = r.Varint(), r.Int64(), r.Count(5), r.Take(3)
	})
}
