// Package engine does what the command line asks for: it turns addresses and
// options into jobs, servers and listings. It decides nothing that a package
// below could decide.
package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
)

// Engine implements cli.Engine. It is safe for concurrent use.
type Engine struct {
	getenv func(string) string
}

var _ cli.Engine = (*Engine)(nil)

// New returns an engine that reads the environment by getenv.
func New(getenv func(string) string) *Engine { return &Engine{getenv: getenv} }

// place is one end of a sync.
type place struct {
	text   string   // for messages, without secrets
	remote bool     // url counts, otherwise path
	url    auth.URL // of a ropeway server
	path   string   // absolute
	within bool     // what is in it, not the thing itself: a trailing slash
}

// parsePlace tells URLs from paths.
func (e *Engine) parsePlace(s, dir string) (place, error) {
	if isURL(s) {
		u, err := auth.ParseURL(s)
		if err != nil {
			return place{}, err
		}
		if u, err = u.WithToken(e.getenv, ""); err != nil {
			return place{}, err
		}
		return place{text: u.Redacted(), remote: true, url: u, within: u.TrailingSlash || u.Path == ""}, nil
	}
	if s == "" {
		return place{}, fault.New(fault.Usage, "", "an empty path")
	}
	p := place{text: s, path: s, within: os.IsPathSeparator(s[len(s)-1])}
	if !filepath.IsAbs(p.path) {
		p.path = filepath.Join(dir, p.path)
	}
	switch filepath.Base(filepath.ToSlash(s)) {
	case ".", "..", string(filepath.Separator):
		p.within = true
	}
	p.path = filepath.Clean(p.path)
	return p, nil
}

func isURL(s string) bool {
	for _, scheme := range []string{"https://", "http://", "ropeway://", "rsync://"} {
		if len(s) >= len(scheme) && s[:len(scheme)] == scheme {
			return true
		}
	}
	return false
}

// dialer makes lanes to the server of a place, for a job, or for jo nil.
func (e *Engine) dialer(p place, jo *job.Options) *lane.Dialer {
	d := &lane.Dialer{Endpoint: p.url, Proxy: lane.ProxyFromEnv(e.getenv)}
	if jo == nil {
		return d
	}
	report := jo.Events
	d.LowEffort = jo.Nice
	d.Warn = func(text string) { report(event.Warn{Text: text}) }
	if most := d.MostLanes(); most > 0 && (jo.Lanes == 0 || jo.Lanes > most) {
		jo.Lanes = most
	}
	return d
}

// stateDir is where what must survive is kept.
func (e *Engine) stateDir(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	paths, err := config.Locate(e.getenv)
	return paths.State, err
}

// holder is what another run reads when it finds the destination locked.
func holder(verb string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	return fmt.Sprintf("%s, process %d on %s since %s", verb, os.Getpid(), host, time.Now().Format("2006-01-02 15:04:05"))
}
