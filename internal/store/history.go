package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/ropeway/ropeway/internal/digest"
)

// History keeps contents that modules had, so that the next version can be told
// as what differs from them. It is bounded in bytes: what was used longest ago
// goes first. Contents survive restarts of the process and of the machine. It
// is safe for concurrent use.
//
// Contents of more than PackedMax bytes are files of their own, smaller ones
// stand together in packs. Names are as those of objects; packs have a p
// before the digest, which is that of their list:
//
//	contents one after the other, then the list: for each content, by digest,
//	its digest, offset (8 bytes) and size (4 bytes, both big-endian); then the
//	number of contents (4 bytes) and the digest of the list.
type History struct {
	*folder
	mu    sync.Mutex // guards packs
	packs []*historyPack
}

const (
	// PackedMax is the size up to which contents stand together, in bytes.
	PackedMax = 256 << 10

	historyPackMax = 32 << 20 // bytes of contents in a pack
	packEntry      = digest.Size + 8 + 4
	packFooter     = 4 + digest.Size
	maxPackEntries = historyPackMax // of one byte each
)

// historyPack is a pack and the heads of the digests in it, in order.
type historyPack struct {
	name  string
	key   string // of the module
	data  int64  // bytes before the list
	heads []uint64
}

func head(d digest.Digest) uint64 { return binary.BigEndian.Uint64(d[:]) }

// loadHistory reads the lists of all packs. Those that are damaged go.
func loadHistory(f *folder) (*History, error) {
	h := &History{folder: f}
	files, err := f.list(context.Background())
	if err != nil {
		return nil, err
	}
	for _, s := range files {
		key, rest, ok := strings.Cut(s.name, "-")
		if !ok || !strings.HasPrefix(rest, "p") {
			continue
		}
		p, err := h.load(s.name)
		if err != nil {
			_, _ = f.remove(s)
			continue
		}
		p.key = key
		h.packs = append(h.packs, p)
	}
	return h, nil
}

var errHistory = errors.New("store: damaged pack")

func (h *History) load(name string) (*historyPack, error) {
	f, info, err := h.dir.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var foot [packFooter]byte
	if info.Size < packFooter {
		return nil, errHistory
	}
	if _, err := f.ReadAt(foot[:], info.Size-packFooter); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(foot[:]))
	data := info.Size - packFooter - n*packEntry
	if n == 0 || n > maxPackEntries || data < 0 {
		return nil, errHistory
	}
	list := make([]byte, n*packEntry)
	if _, err := f.ReadAt(list, data); err != nil {
		return nil, err
	}
	if sum := digest.Sum(list); !bytes.Equal(sum[:], foot[4:]) {
		return nil, errHistory
	}
	p := &historyPack{name: name, data: data, heads: make([]uint64, n)}
	for i := range p.heads {
		p.heads[i] = binary.BigEndian.Uint64(list[i*packEntry:])
	}
	return p, nil
}

// Has reports whether a content is kept. It may be gone when it is opened.
func (h *History) Has(module string, d digest.Digest, size int64) bool {
	if size > PackedMax {
		_, err := h.dir.Lstat(nameOf(module, d))
		return err == nil
	}
	k := key(module)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.packs {
		if p.key != k {
			continue
		}
		if _, ok := slices.BinarySearch(p.heads, head(d)); ok {
			return true
		}
	}
	return false
}

// Open opens a content and counts as use of it. ErrGone if there is none. What
// it yields was verified when it was kept; whoever relies on it verifies again.
func (h *History) Open(module string, d digest.Digest, size int64) (Object, error) {
	if size > PackedMax {
		f, info, err := h.dir.OpenFile(nameOf(module, d))
		if err != nil {
			return nil, gone(err)
		}
		h.touch(nameOf(module, d), info)
		return &diskObject{f, info.Size}, nil
	}
	k := key(module)
	h.mu.Lock()
	packs := slices.Clone(h.packs)
	h.mu.Unlock()
	for _, p := range packs {
		if p.key != k {
			continue
		}
		i, ok := slices.BinarySearch(p.heads, head(d))
		for ; ok && i < len(p.heads) && p.heads[i] == head(d); i++ {
			if o, err := h.member(p, i, d, size); err == nil {
				return o, nil
			} else if errors.Is(err, ErrGone) {
				h.drop(p)
				break
			}
		}
	}
	return nil, ErrGone
}

// member opens the content at place i of a pack's list.
func (h *History) member(p *historyPack, i int, d digest.Digest, size int64) (Object, error) {
	f, info, err := h.dir.OpenFile(p.name)
	if err != nil {
		return nil, gone(err)
	}
	var e [packEntry]byte
	_, err = f.ReadAt(e[:], p.data+int64(i)*packEntry)
	off := int64(binary.BigEndian.Uint64(e[digest.Size:]))
	n := int64(binary.BigEndian.Uint32(e[digest.Size+8:]))
	if err != nil || !bytes.Equal(e[:digest.Size], d[:]) || n != size || off < 0 || off > p.data-n {
		_ = f.Close()
		return nil, errHistory
	}
	h.touch(p.name, info)
	return &section{io.NewSectionReader(f, off, n), f}, nil
}

// section is part of a file that is closed with it.
type section struct {
	*io.SectionReader
	file *os.File
}

func (s *section) Close() error { return s.file.Close() }

// drop forgets a pack whose file was removed.
func (h *History) drop(p *historyPack) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.packs = slices.DeleteFunc(h.packs, func(q *historyPack) bool { return q == p })
}

// Room returns how many bytes may be kept.
func (h *History) Room() int64 { return h.limit }

// Begin begins to keep contents of a module.
func (h *History) Begin(module string) *Keeper {
	return &Keeper{h: h, module: module, entries: map[digest.Digest]packed{}}
}

// Keeper takes contents into the history. It is not safe for concurrent use and
// must end with Close, before which nothing is kept.
type Keeper struct {
	h       *History
	module  string
	done    []pending
	packs   []*historyPack
	temp    string
	file    *os.File // the pack under way
	size    int64
	entries map[digest.Digest]packed
	taken   int64
}

type packed struct{ off, size int64 }

// ErrContent is returned for content that is not what it was said to be.
var ErrContent = errors.New("store: the content has another digest")

// Taken returns the bytes that were taken.
func (k *Keeper) Taken() int64 { return k.taken }

// Keep copies size bytes of r, whose digest must be d. ErrContent says that it
// is not; the keeper then can go on.
func (k *Keeper) Keep(d digest.Digest, size int64, r io.Reader) error {
	if k.h.Has(k.module, d, size) {
		return nil
	}
	if size > PackedMax {
		return k.keepFile(d, size, r)
	}
	if _, ok := k.entries[d]; ok {
		return nil
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil || digest.Sum(data) != d {
		return ErrContent
	}
	if k.size+size > historyPackMax {
		if err := k.closePack(); err != nil {
			return err
		}
	}
	if k.file == nil {
		var err error
		if k.temp, k.file, err = k.h.create(); err != nil {
			return failed(err)
		}
	}
	if _, err := k.file.WriteAt(data, k.size); err != nil {
		return failed(err)
	}
	k.entries[d] = packed{k.size, size}
	k.size += size
	k.taken += size
	return nil
}

func (k *Keeper) keepFile(d digest.Digest, size int64, r io.Reader) error {
	temp, f, err := k.h.create()
	if err != nil {
		return failed(err)
	}
	sum, n, err := digest.SumReader(io.TeeReader(io.LimitReader(r, size+1), f), nil)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && (n != size || sum != d) {
		err = ErrContent
	}
	if err != nil {
		_ = k.h.dir.Remove(temp)
		if errors.Is(err, ErrContent) {
			return err
		}
		return failed(err)
	}
	k.done = append(k.done, pending{temp, nameOf(k.module, d), size})
	k.taken += size
	return nil
}

// closePack writes the list of the pack under way.
func (k *Keeper) closePack() error {
	if k.file == nil {
		return nil
	}
	ids := make([]digest.Digest, 0, len(k.entries))
	for d := range k.entries {
		ids = append(ids, d)
	}
	slices.SortFunc(ids, func(a, b digest.Digest) int { return bytes.Compare(a[:], b[:]) })
	p := &historyPack{key: key(k.module), data: k.size, heads: make([]uint64, len(ids))}
	list := make([]byte, 0, len(ids)*packEntry+packFooter)
	for i, d := range ids {
		e := k.entries[d]
		p.heads[i] = head(d)
		list = append(list, d[:]...)
		list = binary.BigEndian.AppendUint64(list, uint64(e.off))
		list = binary.BigEndian.AppendUint32(list, uint32(e.size))
	}
	sum := digest.Sum(list)
	list = binary.BigEndian.AppendUint32(list, uint32(len(ids)))
	list = append(list, sum[:]...)
	_, err := k.file.WriteAt(list, k.size)
	err = errors.Join(err, k.file.Close())
	k.file = nil
	if err != nil {
		_ = k.h.dir.Remove(k.temp)
		return failed(err)
	}
	p.name = fmt.Sprintf("%s-p%s", p.key, sum)
	k.done = append(k.done, pending{k.temp, p.name, k.size + int64(len(list))})
	k.packs = append(k.packs, p)
	k.size, k.entries = 0, map[digest.Digest]packed{}
	return nil
}

// Close makes what was taken durable and part of the history, from which goes
// what was used longest ago if there is too much. Without keep, it drops it.
func (k *Keeper) Close(keep bool) error {
	defer k.cancel()
	if !keep {
		return nil
	}
	if err := k.closePack(); err != nil {
		return err
	}
	if len(k.done) == 0 {
		return nil
	}
	if err := syncFiles(k.h.dir, k.done); err != nil {
		return failed(err)
	}
	for len(k.done) > 0 {
		p := k.done[0]
		if err := k.h.rename(p.temp, p.name, p.size, 0, ""); err != nil {
			return failed(err)
		}
		k.done = k.done[1:]
	}
	k.h.mu.Lock()
	k.h.packs = append(k.h.packs, k.packs...)
	k.h.mu.Unlock()
	return failed(k.h.dir.Sync())
}

func (k *Keeper) cancel() {
	if k.file != nil {
		_ = k.file.Close()
		_ = k.h.dir.Remove(k.temp)
		k.file = nil
	}
	for _, p := range k.done {
		_ = k.h.dir.Remove(p.temp)
	}
	k.done = nil
}
