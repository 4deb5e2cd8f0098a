//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/wire"
)

// liar is a server that speaks the protocol and means harm. Its plans are
// written by the tests, frame by frame.
type liar struct {
	t     *testing.T
	url   string
	plans atomic.Int64 // asked for
	gets  atomic.Int64 // objects asked for

	deltas atomic.Int64 // differences asked for

	plan   func(*speech)
	object func(http.ResponseWriter, *http.Request)
	delta  func(http.ResponseWriter, *http.Request)
	any    func(http.ResponseWriter, *http.Request) bool // answers before the rest, if it returns true
}

// start makes the liar listen.
func (l *liar) start(t *testing.T) *liar {
	t.Helper()
	l.t = t
	id, err := auth.Ephemeral("127.0.0.1")
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	hs := lane.Server(l, id, lane.ServerOptions{})
	var served sync.WaitGroup
	served.Go(func() { _ = hs.ServeTLS(ln, "", "") })
	t.Cleanup(func() {
		_ = hs.Close()
		served.Wait()
	})
	l.url = fmt.Sprintf("https://x:rw_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@%s/m/m/#pin=%s", ln.Addr(), id.Pin)
	return l
}

func (l *liar) at(path string) string { return strings.Replace(l.url, "/m/m/", "/m/m/"+path, 1) }

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.any != nil && l.any(w, r) {
		return
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/v1/m/m/"); {
	case path == "plan" && l.plan != nil:
		l.plans.Add(1)
		s := &speech{l: l, w: w, rc: http.NewResponseController(w), ctx: r.Context(), body: bufio.NewReader(r.Body)}
		_ = s.rc.EnableFullDuplex()
		_, payload, err := wire.ReadFrame(s.body)
		if err == nil {
			err = s.req.Unmarshal(payload)
		}
		if err != nil {
			l.t.Errorf("request: %v", err)
			return
		}
		w.Header().Set("Content-Type", wire.PlanType)
		w.WriteHeader(http.StatusOK)
		s.hash = manifest.NewHasher(manifest.Mask(s.req.Mask))
		l.plan(s)
	case strings.HasPrefix(path, "up/"):
		w.WriteHeader(http.StatusNoContent)
	case path == "delta" && l.delta != nil:
		l.deltas.Add(1)
		l.delta(w, r)
	case strings.HasPrefix(path, "o/") && l.object != nil:
		l.gets.Add(1)
		l.object(w, r)
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusOK) // whatever it is, it is a file
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// speech is one answer to a request for a plan.
type speech struct {
	l    *liar
	w    http.ResponseWriter
	rc   *http.ResponseController
	ctx  context.Context
	body *bufio.Reader
	req  wire.PlanRequest
	hash *manifest.Hasher
	next uint64 // segment
}

func (s *speech) raw(b []byte) {
	_, _ = s.w.Write(b)
	_ = s.rc.Flush()
}

func (s *speech) frame(k wire.Kind, payload []byte) {
	_ = wire.WriteFrame(s.w, k, payload)
	_ = s.rc.Flush()
}

// base reads what the client holds.
func (s *speech) base() {
	_, _, _ = wire.ReadFrame(s.body)
}

// segment sends records as the next segment; puts count for the tree's digest
// as long as they make sense.
func (s *speech) segment(recs ...manifest.Record) {
	var enc manifest.Encoder
	for i := range recs {
		enc.Append(&recs[i])
		if recs[i].Op == manifest.Put {
			_ = s.hash.Add(&recs[i].Entry)
		}
	}
	s.packed(enc.Take())
}

// packed sends the body of a segment.
func (s *speech) packed(raw []byte) {
	pack.Lock()
	body := pack.Pack(nil, raw)
	pack.Unlock()
	s.frame(wire.KindSegment, (&wire.Segment{Index: s.next, Body: body}).Marshal())
	s.next++
}

// end closes the plan without a lie.
func (s *speech) end() { s.ends(wire.End{}) }

// ends closes the plan; zero fields are as they should be.
func (s *speech) ends(e wire.End) {
	if e.Tree.IsZero() {
		e.Tree = s.hash.Tree()
	}
	if e.Segments == 0 {
		e.Segments = s.next
	}
	s.frame(wire.KindEnd, e.Marshal())
}

// pack is shared, for it takes much memory, and what this process has counts as
// that of the programs that it starts.
var pack = struct {
	sync.Mutex
	*manifest.Compressor
}{Compressor: manifest.NewCompressor()}

// Entries of plans.

func root() manifest.Record { return folder("") }

func folder(path string) manifest.Record {
	return manifest.Record{Entry: manifest.Entry{Path: path, Type: manifest.Dir, Mode: 0o755, Sec: 1}}
}

func symlink(path, target string) manifest.Record {
	return manifest.Record{Entry: manifest.Entry{Path: path, Type: manifest.Symlink, Target: target, Sec: 1}}
}

// inline is a file whose content stands in the plan.
func inline(path, text string) manifest.Record {
	return file(path, text, append([]byte{'i'}, text...))
}

// file is a file of that content, to be made as ext says.
func file(path, text string, ext []byte) manifest.Record {
	return manifest.Record{Entry: manifest.Entry{
		Path: path, Type: manifest.File, Mode: 0o644, Sec: 1, Digest: digest.Sum([]byte(text)), Size: int64(len(text)),
	}, Ext: ext}
}

func note(path string, ext []byte) manifest.Record {
	return manifest.Record{Op: manifest.Note, Entry: manifest.Entry{Path: path}, Ext: ext}
}

// spanNote announces the one span of a file of at most 4 MiB.
func spanNote(size int64, o digest.Object) []byte {
	b := binary.AppendUvarint([]byte{'S'}, uint64(size))
	b = append(b, 1, 2, 3, 4, 5, 6, 7, 8, 100, 0, 1)
	b = append(b, o.ID[:]...)
	for _, cv := range o.Blocks {
		b = append(b, cv[:]...)
	}
	return b
}

// packHere is a pack that stands in the plan.
func packHere(seq uint64, raw int, stored []byte) []byte {
	id := digest.Sum(stored)
	b := binary.AppendUvarint([]byte{'P'}, seq)
	b = binary.AppendUvarint(b, uint64(raw))
	b = append(b, id[:]...)
	return append(append(binary.AppendUvarint(b, uint64(len(stored))), 1), stored...)
}

// patchHere is the note of a patch that stands in the plan.
func patchHere(raw uint64, patch []byte) []byte {
	return append(append(binary.AppendUvarint([]byte{'D'}, raw), 0), patch...)
}

// inPack says that a file is in a pack.
func inPack(seq, offset uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint([]byte{'p'}, seq), offset)
}

// stored is the frame of a pack.
func stored(raw int, b []byte) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	f = binary.BigEndian.AppendUint32(f, uint32(raw))
	return append(f, b...)
}

// closed is a context that has ended.
func closed() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
