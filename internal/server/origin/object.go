package origin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/plan"
	"github.com/ropeway/ropeway/internal/scan"
	"github.com/ropeway/ropeway/internal/store"
	"github.com/ropeway/ropeway/internal/wire"
)

// ParseRange reads "bytes=from-to" with both ends given; an empty header is
// the whole.
func ParseRange(h string, size int64) (from, to int64, err error) {
	if h == "" {
		return 0, size, nil
	}
	spec, ok := strings.CutPrefix(h, "bytes=")
	a, b, two := strings.Cut(spec, "-")
	from, e1 := strconv.ParseInt(a, 10, 64)
	to, e2 := strconv.ParseInt(b, 10, 64)
	if !ok || !two || e1 != nil || e2 != nil || from < 0 || to < from || to >= size {
		return 0, 0, fmt.Errorf("range %.40q of %d bytes", h, size)
	}
	return from, to + 1, nil
}

var errGone = errors.New("the object is gone")

func (o *Origin) object(w http.ResponseWriter, r *http.Request) {
	id, err := digest.Parse(r.PathValue("digest"))
	if err != nil {
		http.Error(w, "not a digest", http.StatusBadRequest)
		return
	}
	var (
		src  io.ReaderAt
		size int64
		base int64
		done func() error
	)
	if q := r.URL.Query(); q.Has("p") {
		ref, err := wire.ParseSpanRef(q)
		if err != nil {
			http.Error(w, "not a span: "+err.Error(), http.StatusBadRequest)
			return
		}
		f, n, check, err := o.openSpan(ref)
		if err != nil {
			o.gone(w, err)
			return
		}
		defer func() { _ = f.Close() }()
		src, size, base, done = f, min(digest.SpanSize, n-ref.Offset), ref.Offset, check
	} else {
		f, err := o.cfg.Store.Objects().Open(o.cfg.Module, id)
		if err != nil {
			o.gone(w, err)
			return
		}
		defer func() { _ = f.Close() }()
		src, size, done = f, f.Size(), func() error { return nil }
	}
	from, to, err := ParseRange(r.Header.Get("Range"), size)
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestedRangeNotSatisfiable)
		return
	}
	o.send(w, r, io.NewSectionReader(src, base+from, to-from), done)
}

func (o *Origin) gone(w http.ResponseWriter, err error) {
	if !errors.Is(err, errGone) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, store.ErrGone) {
		o.cfg.Log("object: %v", err)
	}
	http.Error(w, "gone", http.StatusGone)
}

// openSpan opens the file that ref names if it still is in the state that the
// plan saw. check tells the same after the read.
func (o *Origin) openSpan(ref wire.SpanRef) (*os.File, int64, func() error, error) {
	if manifest.InState(ref.Path) {
		return nil, 0, nil, errGone
	}
	dir, err := o.descend(manifest.Parent(ref.Path))
	if err != nil {
		return nil, 0, nil, err
	}
	leaf := ref.Path[strings.LastIndexByte(ref.Path, '/')+1:]
	f, info, err := dir.OpenFile(leaf)
	if err != nil {
		_ = dir.Close()
		return nil, 0, nil, err
	}
	_ = dir.Close()
	if ref.Tagged && plan.Tag(scan.StatOf(info)) != ref.Tag || ref.Offset >= info.Size {
		_ = f.Close()
		return nil, 0, nil, errGone
	}
	check := func() error {
		now, err := scan.FileStat(f)
		if err == nil && now != scan.StatOf(info) {
			err = errGone
		}
		return err
	}
	return f, info.Size, check, nil
}

// send writes body, compressed when the client asks for it. A client that does
// not read for writeStall, or a file that changes under it, ends the answer
// short, which no client takes for whole.
//
// What is compressed goes out in frames that stand alone: an encoder is needed
// for a moment only, and not for as long as the client takes to read.
func (o *Origin) send(w http.ResponseWriter, r *http.Request, body *io.SectionReader, check func() error) {
	a := &answer{w: w, rc: http.NewResponseController(w), body: body, check: check, limits: o.limits, ctx: r.Context(), client: clientOf(r.Context())}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "no-store")
	next := a.plain
	if r.Header.Get("Accept-Encoding") == "zstd" {
		h.Set("Content-Encoding", "zstd")
		next = a.packed
	} else {
		h.Set("Content-Length", strconv.FormatInt(body.Size(), 10))
	}
	if r.Header.Get("Range") != "" {
		w.WriteHeader(http.StatusPartialContent)
	}
	for a.at < body.Size() {
		if next() != nil {
			panic(http.ErrAbortHandler)
		}
	}
}
