package plain

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

const (
	maxSorted  = 100_000  // names; listings of more are not sorted
	maxSortMem = 16 << 20 // bytes of names that are sorted
	smallList  = 1000     // names; sorting so many needs no permission
	wholeList  = 64 << 10 // bytes; listings that are shorter are sent in one piece
)

// item is one line of a listing.
type item struct {
	name   string
	kind   string // a manifest.Type in words, or "unknown"
	dir    bool   // a directory: its link ends in a slash
	link   bool   // it can be asked for
	file   bool   // size counts
	size   int64  // bytes
	mtime  time.Time
	target string // of a symlink
}

// format writes a listing.
type format interface {
	contentType() string
	begin(b []byte, path string, top bool) []byte
	item(b []byte, it *item, first bool) []byte
	end(b []byte) []byte
}

// serveList answers with the listing of a directory; top says that it is the
// module's root as far as the URL goes.
func (h *Handler) serveList(w *slowWriter, r *http.Request, at *place, hidden func(string, bool) bool, top bool) error {
	var f format = htmlFormat{}
	if wantsJSON(r) {
		f = jsonFormat{}
	}
	hd := w.Header()
	hd.Set("Content-Type", f.contentType())
	hd.Set("X-Content-Type-Options", "nosniff")
	hd.Set("Cache-Control", "private, no-cache")
	hd.Set("Vary", "Accept")
	hd.Set("Referrer-Policy", "same-origin")
	hd.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	if r.Method == http.MethodHead {
		// Whether the directory can be read is part of the answer.
		if err := at.dir.Names(func([]byte) error { return errEnough }); err != nil && !errors.Is(err, errEnough) {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}

	names, done, err := h.names(at.dir)
	if err != nil {
		return err
	}
	defer done()
	l := &lister{w: w, h11: r.ProtoMajor == 1, at: at, hidden: hidden, format: f, first: true}
	l.buf = f.begin(nil, at.path, top)
	if names == nil {
		err = at.dir.Names(func(name []byte) error { return l.add(r, string(name)) })
	} else {
		for _, name := range names {
			if err = l.add(r, name); err != nil {
				break
			}
		}
	}
	if err == nil {
		l.buf = f.end(l.buf)
		err = l.finish()
	}
	if err != nil && l.sent {
		return errCut
	}
	return err
}

var errEnough = errors.New("plain: enough names")

// names returns the sorted names of d, or nil when they are too many to be
// sorted or too many others are being sorted. done must be called after use.
func (h *Handler) names(d *fsys.Dir) (names []string, done func(), err error) {
	done = func() {}
	names = []string{}
	size, permit := 0, false
	err = d.Names(func(name []byte) error {
		if len(names) == smallList && !permit {
			select {
			case h.sort <- struct{}{}:
				permit = true
				done = func() { <-h.sort }
			default:
				return errEnough
			}
		}
		if size += len(name) + 16; len(names) == maxSorted || size > maxSortMem {
			return errEnough
		}
		names = append(names, string(name))
		return nil
	})
	if err != nil {
		done()
		done = func() {}
		if errors.Is(err, errEnough) {
			return nil, done, nil
		}
		return nil, done, err
	}
	slices.Sort(names)
	return names, done, nil
}

// lister sends a listing as it grows.
type lister struct {
	w      *slowWriter
	h11    bool
	at     *place
	hidden func(string, bool) bool
	format format
	first  bool
	sent   bool
	buf    []byte
}

// add appends one name, unless it is hidden or gone.
func (l *lister) add(r *http.Request, name string) error {
	if isPrivate(name) {
		return nil
	}
	it, ok := l.look(name)
	if !ok {
		return nil
	}
	l.buf = l.format.item(l.buf, it, l.first)
	l.first = false
	if len(l.buf) < wholeList {
		return nil
	}
	if err := r.Context().Err(); err != nil {
		return err
	}
	return l.flush()
}

// look describes a name.
func (l *lister) look(name string) (*item, bool) {
	it := &item{name: name, kind: "unknown"}
	info, err := l.at.dir.Lstat(name)
	if err != nil {
		return it, !fsys.IsNotExist(err)
	}
	path := name
	if l.at.path != "" {
		path = l.at.path + "/" + name
	}
	if l.hidden != nil && l.hidden(path, info.Type == manifest.Dir) {
		return nil, false
	}
	it.mtime = info.ModTime()
	if info.Type != 0 {
		it.kind = info.Type.String()
	}
	switch info.Type {
	case manifest.File:
		it.size, it.file, it.link = info.Size, true, true
	case manifest.Dir:
		it.dir, it.link = true, true
	case manifest.Symlink:
		it.link = true
		it.target, err = l.at.dir.Readlink(name)
		if err != nil && fsys.IsNotExist(err) {
			return nil, false
		}
	}
	return it, true
}

func (l *lister) flush() error {
	if !l.sent && l.h11 {
		// The last bytes of a response of unknown length leave after the handler,
		// when nobody would lift the deadline of a connection that is kept.
		l.w.Header().Set("Connection", "close")
		l.w.keepDeadline = true
	}
	l.sent = true
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

func (l *lister) finish() error {
	if !l.sent {
		l.w.Header().Set("Content-Length", strconv.Itoa(len(l.buf)))
		l.sent = true
	}
	_, err := l.w.Write(l.buf)
	return err
}

// wantsJSON reports whether r asks for a listing in JSON.
func wantsJSON(r *http.Request) bool {
	switch r.URL.Query().Get("format") {
	case "json":
		return true
	case "html":
		return false
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}
