package plain

import (
	"encoding/binary"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fsys"
)

// serveFile answers with a file, or a part of it.
func (h *Handler) serveFile(w *slowWriter, r *http.Request, at *place) error {
	f, info, err := at.dir.OpenFile(at.name)
	if err != nil {
		return err
	}
	defer f.Close()
	src := &steadyFile{f: f, size: info.Size}
	if src.before, err = stampOf(f); err != nil {
		return err
	}
	tag := etag(info, racy(at.dir, info))

	hd := w.Header()
	contentType := typeOf(at.name)
	hd.Set("Content-Type", contentType)
	hd.Set("X-Content-Type-Options", "nosniff")
	hd.Set("Cache-Control", "private, no-cache")
	hd.Set("Cross-Origin-Resource-Policy", "same-origin")
	if contentType != "application/pdf" { // browsers cannot show one in a sandbox
		hd.Set("Content-Security-Policy", "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:")
	}
	hd.Set("ETag", tag)
	http.ServeContent(w, fewRanges(r), "", info.ModTime(), src)
	if src.failed() || w.err != nil {
		return errCut
	}
	return nil
}

// maxRanges is how many ranges a request may ask for. Each costs a header of
// its own, so that many small ones ask for more than the whole.
const maxRanges = 64

// fewRanges returns r, without its ranges if they are too many.
func fewRanges(r *http.Request) *http.Request {
	if strings.Count(r.Header.Get("Range"), ",") < maxRanges {
		return r
	}
	whole := *r
	whole.Header = r.Header.Clone()
	whole.Header.Del("Range")
	return &whole
}

// steadyFile reads a file as it was when it was opened, and fails once it is
// not that any more. What it has returned till then is right. Several ranges
// are read by a goroutine of net/http that can outlive the response.
type steadyFile struct {
	f      *os.File
	size   int64
	before stamp

	mu  sync.Mutex
	at  int64
	err error
}

var errChanged = errors.New("plain: the file changed while it was read")

// Seek implements io.Seeker.
func (s *steadyFile) Seek(offset int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, os.ErrInvalid
	}
	s.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (s *steadyFile) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.at >= s.size {
		return 0, io.EOF
	}
	n, err := s.f.ReadAt(b[:min(int64(len(b)), s.size-s.at)], s.at)
	if errors.Is(err, io.EOF) && n > 0 {
		err = nil // the stamp tells whether it is shorter now
	}
	if errors.Is(err, io.EOF) {
		err = errChanged
	}
	if after, serr := stampOf(s.f); err == nil && serr != nil {
		err = serr
	} else if err == nil && !after.same(s.before) {
		err = errChanged
	}
	if err != nil {
		s.err = err
		return 0, err
	}
	s.at += int64(n)
	return n, nil
}

func (s *steadyFile) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// stamp is what tells whether an open file was written to.
type stamp struct {
	size   int64
	mtime  time.Time
	change int64 // change time in nanoseconds; 0 where the system has none
	links  uint64
}

func stampOf(f *os.File) (stamp, error) {
	fi, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	s := stamp{size: fi.Size(), mtime: fi.ModTime()}
	s.change, s.links = changeOf(fi)
	return s, nil
}

// same reports whether the content is the same. The change time also moves
// when a name of the file is added, removed or replaced, which is how releases
// are landed; so it says nothing when the number of names differs.
func (s stamp) same(t stamp) bool {
	return s.size == t.size && s.mtime.Equal(t.mtime) && (s.change == t.change || s.links != t.links)
}

// etag names the file's state. A weak one is for states that the next write
// might leave with the same times.
func etag(i fsys.Info, weak bool) string {
	b := make([]byte, 0, 64)
	for _, v := range []uint64{i.Ino, uint64(i.Size), uint64(i.Sec), uint64(i.Nsec), uint64(i.CSec), uint64(i.CNsec)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	tag := `"` + digest.Sum(b).String()[:32] + `"`
	if weak {
		return "W/" + tag
	}
	return tag
}

// racy reports whether the file was changed so lately that another change may
// not show in its times.
func racy(dir *fsys.Dir, i fsys.Info) bool {
	tick := 2 * time.Second
	if dir.FineTimes() {
		tick = 50 * time.Millisecond
	}
	last := i.ModTime()
	if c := time.Unix(i.CSec, int64(i.CNsec)); c.After(last) {
		last = c
	}
	return time.Since(last) < tick
}

// typeOf returns the media type that a name's extension stands for.
func typeOf(name string) string {
	if t := mime.TypeByExtension(strings.ToLower(path.Ext(name))); t != "" {
		return t
	}
	return "application/octet-stream"
}
