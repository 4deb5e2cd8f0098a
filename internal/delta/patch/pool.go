package patch

import (
	"container/list"
	"io"
	"sync"
)

// maxOpen is how many files of a tree are open at once.
const maxOpen = 64

// pool opens the files of a tree when they are read, and closes those that
// were not read for longest. Safe for concurrent use.
type pool struct {
	open func(path string) (Source, error)

	mu   sync.Mutex
	held map[string]*list.Element
	used list.List // of *handle, the last used in front
}

type handle struct {
	path string
	src  Source
	busy int
	gone bool // dropped while it was read
}

func newPool(open func(path string) (Source, error)) *pool {
	return &pool{open: open, held: map[string]*list.Element{}}
}

// file returns a reader of the file at path, which opens it when needed.
func (p *pool) file(path string) io.ReaderAt { return pooled{p, path} }

type pooled struct {
	p    *pool
	path string
}

func (f pooled) ReadAt(b []byte, off int64) (int, error) {
	h, err := f.p.take(f.path)
	if err != nil {
		return 0, err
	}
	defer f.p.give(h)
	return h.src.ReadAt(b, off)
}

func (p *pool) take(path string) (*handle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.held[path]; e != nil {
		p.used.MoveToFront(e)
		h := e.Value.(*handle)
		h.busy++
		return h, nil
	}
	for p.used.Len() >= maxOpen {
		p.drop(p.used.Back())
	}
	src, err := p.open(path)
	if err != nil {
		return nil, err
	}
	h := &handle{path: path, src: src, busy: 1}
	p.held[path] = p.used.PushFront(h)
	return h, nil
}

func (p *pool) give(h *handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.busy--; h.gone && h.busy == 0 {
		_ = h.src.Close() // it was only read
	}
}

func (p *pool) drop(e *list.Element) {
	h := e.Value.(*handle)
	p.used.Remove(e)
	delete(p.held, h.path)
	if h.gone = true; h.busy == 0 {
		_ = h.src.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.used.Len() > 0 {
		p.drop(p.used.Back())
	}
}
