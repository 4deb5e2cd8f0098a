// Package plain serves the live directories of modules to plain HTTP clients:
// curl, wget and browsers.
//
//	GET, HEAD {prefix}{module}/{path}
//
// Files come with ranges, validators and resumption; directories as listings,
// in HTML or, with "Accept: application/json" or "?format=json", in JSON. What
// is served is what is there at that moment: a file that changes while it is
// read ends the response short, so that no client takes the mixture for whole.
//
// Symlinks are resolved as long as they stay inside the module; anything that
// leads elsewhere, names that are hidden, and what is neither a file nor a
// directory does not exist for clients.
package plain

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Module is a directory that is offered.
type Module struct {
	// Open opens the module's root, for one request; it will be closed.
	Open func() (*fsys.Dir, error)
	// Hidden reports whether the file or directory at a path, in the form of
	// manifest.Entry.Path, is not to be seen, in which case nothing below it is.
	// It is asked about every directory on the way, and about symlinks both as
	// such and as what they lead to. Nil hides nothing.
	Hidden func(path string, dir bool) bool
}

// Options says what a Handler serves. Its functions are called concurrently.
type Options struct {
	// Prefix is the part of the URL's path before the module's name, with slashes
	// at both ends; empty means "/m/".
	Prefix string
	// Lookup finds a module and decides whether the request may read it. An
	// error of class Denied asks a client without credentials for some.
	Lookup func(r *http.Request, name string) (Module, error)
	// Stall is the longest that a client may take to accept 32 KiB; 0 means
	// two minutes. A client that is slower is cut off.
	Stall time.Duration
}

// Handler serves modules. It is safe for concurrent use.
type Handler struct {
	o    Options
	sort chan struct{} // holds one element per large listing that is being sorted
}

const (
	defaultPrefix = "/m/"
	defaultStall  = 2 * time.Minute
	maxSorting    = 8 // large listings sorted at a time; others are sent as the directory has them
)

// New returns a handler.
func New(o Options) *Handler {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.Stall <= 0 {
		o.Stall = defaultStall
	}
	return &Handler{o: o, sort: make(chan struct{}, maxSorting)}
}

// errNotFound stands for everything that does not exist for clients.
var errNotFound = fault.New(fault.NotFound, "", "not found")

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := newSlowWriter(w, h.o.Stall)
	defer out.finish()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(out, http.StatusMethodNotAllowed)
		return
	}
	if err := h.serve(out, r); err != nil {
		if errors.Is(err, errCut) {
			panic(http.ErrAbortHandler) // the documented way to end a response short
		}
		h.fail(out, r, err)
	}
}

// serve answers r. It has written nothing when it returns an error other than
// errCut.
func (h *Handler) serve(w *slowWriter, r *http.Request) error {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), h.o.Prefix)
	if !ok {
		return errNotFound
	}
	parts, err := split(rest)
	if err != nil {
		return err
	}
	mod, err := h.o.Lookup(r, parts[0])
	if err != nil {
		return err
	}
	root, err := mod.Open()
	if err != nil {
		return err
	}
	defer root.Close()

	names := parts[1:]
	slash := strings.HasSuffix(rest, "/")
	at, err := resolve(root, names, mod.Hidden)
	if err != nil {
		return err
	}
	defer at.close()
	if at.name != "" {
		if slash {
			return errNotFound
		}
		return h.serveFile(w, r, at)
	}
	if !slash {
		redirect(w, r, parts[len(parts)-1])
		return nil
	}
	return h.serveList(w, r, at, mod.Hidden, len(names) == 0)
}

// split takes an escaped path, less a slash at its end, apart into names.
func split(escaped string) ([]string, error) {
	escaped = strings.TrimSuffix(escaped, "/")
	if len(escaped) > 3*manifest.MaxPath {
		return nil, errNotFound
	}
	parts := strings.Split(escaped, "/")
	if len(parts) > manifest.MaxDepth {
		return nil, errNotFound
	}
	for i, p := range parts {
		name, err := url.PathUnescape(p)
		if err != nil || name == "" || name == "." || name == ".." || len(name) > manifest.MaxName || strings.ContainsAny(name, "/\x00") {
			return nil, errNotFound
		}
		parts[i] = name
	}
	return parts, nil
}

// redirect adds the slash that relative links in a listing need. It names the
// last component only, so that it holds behind proxies that change the rest.
func redirect(w *slowWriter, r *http.Request, name string) {
	to := "./" + url.PathEscape(name) + "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	refuse(w, http.StatusMovedPermanently)
}

// fail answers with the status that err stands for.
func (h *Handler) fail(w *slowWriter, r *http.Request, err error) {
	status := statusOf(err)
	if status == http.StatusForbidden && fault.ClassOf(err) == fault.Denied && r.Header.Get("Authorization") == "" {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="ropeway", charset="UTF-8"`)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	refuse(w, status)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), fault.ClassOf(err) == fault.Busy:
		return http.StatusServiceUnavailable
	case errors.Is(err, fsys.ErrName), errors.Is(err, fsys.ErrNotRegular), errors.Is(err, syscall.ENAMETOOLONG):
		return http.StatusNotFound
	case errors.Is(err, fs.ErrPermission):
		return http.StatusForbidden
	}
	switch fsys.Class(err) {
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Denied:
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

// refuse answers with a status and its words, which tell nothing about paths.
func refuse(w *slowWriter, status int) {
	hd := w.Header()
	hd.Set("Cache-Control", "private, no-cache")
	hd.Set("Content-Type", "text/plain; charset=utf-8")
	hd.Set("X-Content-Type-Options", "nosniff")
	text := http.StatusText(status) + "\n"
	hd.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
