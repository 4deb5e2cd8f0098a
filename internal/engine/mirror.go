package engine

import (
	"path"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
)

// mirrors adds what --mirror names to a job with the server of p. The same key
// is the same server, by another name, address or port: connections to it are
// raced. Another key is another server, which is asked for blocks too.
func (e *Engine) mirrors(jo *job.Options, d *lane.Dialer, p place, urls []string) error {
	for _, text := range urls {
		m, err := e.parsePlace(text, "")
		if err != nil {
			return err
		}
		switch {
		case m.url.Module == "":
			return fault.New(fault.Usage, "give the URL in full, with module and path", "--mirror %s names no module", m.text)
		case m.within != p.within:
			return fault.New(fault.Usage, "end both with a slash, or neither", "--mirror %s has another trailing slash than %s", m.text, p.text)
		case !p.within && path.Base(m.url.Path) != path.Base(p.url.Path):
			return fault.New(fault.Usage, "", "--mirror %s has another name than %s", m.text, p.text)
		}
		known := !p.url.Pin.IsZero()
		if same := m.url.Pin == p.url.Pin || m.url.Pin.IsZero(); known && same && m.url.Module == p.url.Module && m.url.Path == p.url.Path {
			d.Others = append(d.Others, m.url)
			continue
		}
		jo.Mirrors = append(jo.Mirrors, job.Mirror{
			Dial: e.dialer(m, jo).Dial, Module: m.url.Module, Path: m.url.Path, Name: m.text,
		})
	}
	return nil
}
