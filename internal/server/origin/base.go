package origin

import (
	"errors"
	"fmt"
	"io"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// missing returns what the receiver must say before its base can be used, nil
// if that is nothing.
func (o *Origin) missing(b *wire.Base) *wire.Need {
	var need wire.Need
	if len(b.Uploads) > 0 {
		for _, d := range b.Uploads {
			if f, err := o.cfg.Store.Segments().Open(o.cfg.Module, d); err != nil {
				need.Uploads = append(need.Uploads, d)
			} else {
				_ = f.Close()
			}
		}
	} else if !b.Tree.IsZero() && !o.cfg.Store.Manifests().Has(o.cfg.Module, b.Tree) {
		need.Base = true
	}
	if need.Base || len(need.Uploads) > 0 {
		return &need
	}
	return nil
}

// openBase is the sender's view of what the receiver holds.
func (o *Origin) openBase(b *wire.Base) (manifest.Source, func(), error) {
	st, mod := o.cfg.Store, o.cfg.Module
	var (
		src  manifest.Source
		done = func() {}
	)
	switch {
	case len(b.Uploads) > 0:
		src = &uploads{open: func(d digest.Digest) ([]byte, error) { return load(st.Segments(), mod, d) }, ids: b.Uploads}
	case !b.Tree.IsZero():
		m, err := st.Manifests().Open(mod, b.Tree)
		if err != nil {
			return nil, nil, fault.Wrap(fault.Network, err, "run it again", "the base is gone")
		}
		src, done = m, func() { _ = m.Close() }
	default:
		src = manifest.Slice(nil)
	}
	if len(b.Changes) > 0 {
		dec := manifest.NewDecompressor()
		body, err := dec.Unpack(b.Changes)
		if err != nil {
			done()
			return nil, nil, fault.Wrap(fault.Usage, err, "", "changes")
		}
		src = manifest.Apply(src, &ordered{src: manifest.NewDecoder(body)})
		prev := done
		done = func() { prev(); dec.Close() }
	}
	return src, done, nil
}

// uploads reads uploaded segments one after the other.
type uploads struct {
	open func(digest.Digest) ([]byte, error)
	ids  []digest.Digest
	dec  *manifest.Decompressor
	body *manifest.Decoder
	ord  manifest.Ordered
}

func (u *uploads) Next(r *manifest.Record) error {
	for {
		if u.body != nil {
			err := u.body.Next(r)
			if err == nil {
				return u.ord.Check(r.Path)
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
		}
		if len(u.ids) == 0 {
			return io.EOF
		}
		frame, err := u.open(u.ids[0])
		if err != nil {
			return err
		}
		u.ids = u.ids[1:]
		if u.dec == nil {
			u.dec = manifest.NewDecompressor()
		}
		body, err := u.dec.Unpack(frame)
		if err != nil {
			return err
		}
		u.body = manifest.NewDecoder(body)
	}
}

// ordered refuses records out of canonical order.
type ordered struct {
	src manifest.Source
	ord manifest.Ordered
}

func (s *ordered) Next(r *manifest.Record) error {
	if err := s.src.Next(r); err != nil {
		return err
	}
	if r.Op == manifest.Note {
		return wire.ErrFrame
	}
	return s.ord.Check(r.Path)
}

// load reads an uploaded segment.
func load(spool store.Spool, module string, id digest.Digest) ([]byte, error) {
	f, err := spool.Open(module, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if f.Size() > wire.MaxUpload {
		return nil, fmt.Errorf("segment of %d bytes", f.Size())
	}
	b := make([]byte, f.Size())
	_, err = f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b, err
}
