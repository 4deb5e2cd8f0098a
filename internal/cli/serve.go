package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
)

// DefaultListen is where serve listens if it is not told.
const DefaultListen = "127.0.0.1:8873"

const serveLong = `Offer a directory to 'ropeway sync' until interrupted.

Prints the URL to give to the other side; it carries the pin of the server's
key, so that nobody can step in between. The tree is read only unless
--writable is given.`

const serveExample = `  ropeway serve ./release
  ropeway serve /srv/www --name www --listen :9000 --advertise files.example.org
  ropeway serve ./inbox --writable --ephemeral`

func (a *app) serveVerb() *cobra.Command {
	o := ServeOptions{}
	readyFile := ""
	cmd := &cobra.Command{
		Use:     "serve [flags] DIR",
		Short:   "Offer a directory",
		Long:    serveLong,
		Example: serveExample,
		Args:    operands(1, 1, "a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Root, o.Dir = args[0], a.env.Dir
			if err := a.checkServe(&o); err != nil {
				return err
			}
			return a.serve(cmd.Context(), o, readyFile)
		},
	}
	return a.define(cmd, func(f *flags) {
		f.group = "What is offered"
		parsed(f, &o.Name, parseModule, "name", "", "NAME", "", "name in the URL, instead of the directory's")
		f.on(&o.Writable, "writable", "", "let clients change the directory")
		parsed(f, &o.History, parseHistory, "history", "", "SIZE", "", "keep so much of what was served, to send only what differs from it; 0: nothing")
		parsed(f, &o.Bases, func(v string) ([]string, error) {
			if v == "" {
				return nil, errors.New("want a directory")
			}
			return append(o.Bases, v), nil
		}, "base", "", "DIR", "", "a directory with what clients have, an older release say; repeatable")
		f.group = "Where"
		parsed(f, &o.Listen, parseListen, "listen", "", "ADDR", DefaultListen, "address to listen on, HOST:PORT")
		parsed(f, &o.Advertise, notEmpty, "advertise", "", "HOST", "", "host that the printed URL names")
		parsed(f, &readyFile, notEmpty, "ready-file", "", "FILE", "", "write the URL to FILE once ready, instead of printing it")
		parsed(f, &o.StateDir, notEmpty, "state-dir", "", "DIR", "", "keep the server's key and history in DIR")
		f.on(&o.Ephemeral, "ephemeral", "", "keep nothing: a new key each time")
		f.group = "What is printed"
		f.add(&count{n: &o.Verbose}, "verbose", "v", "print each request").NoOptDefVal = "+1"
		f.on(&o.JSON, "json", "", "print JSON lines, each request too (docs/json.md)")
	})
}

// checkServe completes the options or says what is wrong with them.
func (a *app) checkServe(o *ServeOptions) error {
	if o.Root == "" {
		return usage("for the current directory write .", "serve: an empty name is no directory")
	}
	if o.Ephemeral {
		if o.StateDir != "" {
			return usage("leave one of them out", "serve: --ephemeral keeps nothing, --state-dir says where to keep it")
		}
		return nil
	}
	if o.StateDir == "" {
		o.StateDir = stateDir(a.env.Getenv, a.env.GOOS)
	}
	if o.StateDir == "" {
		return usage("give --state-dir DIR, or --ephemeral", "serve: no place for the server's key: HOME is not set")
	}
	return nil
}

// stateDir is where a server keeps its state if it is not told; "" if the
// environment names no place.
func stateDir(getenv func(string) string, goos string) string {
	if dir, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); dir != "" && goos != "windows" {
		return dir
	}
	if dir := getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "ropeway")
	}
	if goos == "windows" {
		if dir := getenv("LOCALAPPDATA"); dir != "" {
			return filepath.Join(dir, "ropeway")
		}
		return ""
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "ropeway")
	}
	return ""
}

// parseHistory reads --history: none is less than 0.
func parseHistory(s string) (int64, error) {
	n, err := parseSize(s, 'B')
	if err == nil && n == 0 {
		n = -1
	}
	return n, err
}

func parseListen(s string) (string, error) {
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return "", fmt.Errorf("want HOST:PORT or :PORT")
	}
	return s, nil
}

// parseModule accepts a name that needs no escape in a URL and cannot be a path.
func parseModule(s string) (string, error) {
	wrong := fmt.Errorf("want letters, digits, . _ or -, not beginning with a dot, at most 64")
	if s == "" || len(s) > 64 || s[0] == '.' {
		return "", wrong
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return "", wrong
		}
	}
	return s, nil
}

func (a *app) serve(ctx context.Context, o ServeOptions, readyFile string) error {
	if readyFile != "" && !filepath.IsAbs(readyFile) {
		readyFile = filepath.Join(o.Dir, readyFile)
	}
	if readyFile != "" {
		if err := os.Remove(readyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap(fault.Other, err, "", "serve: cannot replace the ready file")
		}
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p := &servePrinter{out: newOutput(a.stdout, a.stderr), o: o, quietURL: readyFile != ""}
	hooks := ServeHooks{Access: p.access, Warn: p.warn, Ready: func(r Ready) {
		if readyFile != "" {
			if err := writeReady(readyFile, r); err != nil {
				fail(fault.Wrap(fault.Other, err, "", "serve: cannot write the ready file"))
				return
			}
		}
		p.ready(r)
	}}
	err := a.call(ctx, func(ctx context.Context) error { return a.env.Engine.Serve(ctx, o, hooks) })
	if readyFile != "" {
		_ = os.Remove(readyFile) // it said that a server is there
	}
	if err == nil && a.signal.Load() == 0 {
		err = context.Cause(ctx) // the ready file, or nothing
	}
	err = a.verdict(ctx, err)
	defer a.hurry(ctx, p.out)()
	if lost := p.close(); err == nil && lost != nil {
		return fault.Wrap(fault.Other, lost, "", "cannot write the output")
	}
	return err
}

// writeReady puts the file in place in one step, for whoever waits for it. Its
// URLs may carry a token, so that it is the owner's alone.
func writeReady(name string, r Ready) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".ready-*") // mode 0600
	if err != nil {
		return err
	}
	if len(r.URLs) > 0 {
		_, err = f.WriteString(r.URLs[0] + "\n")
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

type jsonReady struct {
	jsonHead
	Module   string   `json:"module"`
	Root     string   `json:"root"`
	Addrs    []string `json:"addrs"`
	URLs     []string `json:"urls"`
	Pin      string   `json:"pin"`
	Writable bool     `json:"writable"`
}

func newJSONReady(r Ready) jsonReady {
	return jsonReady{head("ready"), r.Module, r.Root, r.Addrs, r.URLs, r.Pin, r.Writable}
}

type jsonAccess struct {
	jsonHead
	Start  string `json:"start"`
	Remote string `json:"remote"`
	User   string `json:"user,omitempty"`
	Method string `json:"method"`
	jsonPath
	Status  int     `json:"status"`
	Bytes   int64   `json:"bytes"`
	Elapsed float64 `json:"elapsed"`
	Module  string  `json:"module,omitempty"`
	Route   string  `json:"route,omitempty"`
	Outcome string  `json:"outcome,omitempty"`
	Cause   string  `json:"cause,omitempty"`
}

// servePrinter prints what a server reports. It never makes the server wait:
// lines that nobody reads are dropped and counted.
type servePrinter struct {
	out      *output
	o        ServeOptions
	quietURL bool // it is in the ready file

	mu      sync.Mutex
	dropped int64
}

func (p *servePrinter) ready(r Ready) {
	if p.o.JSON {
		p.out.put(toStdout, string(jsonLine(newJSONReady(r))))
		return
	}
	mode := "read only"
	if r.Writable {
		mode = "writable"
	}
	if len(r.URLs) > 0 && !p.quietURL {
		p.out.put(toStdout, printable(r.URLs[0])+"\n")
	}
	talk := fmt.Sprintf("serving %s as %s, %s, on %s\n", printable(r.Root), printable(r.Module), mode, strings.Join(r.Addrs, " "))
	if r.Pin != "" {
		talk += "pin " + printable(r.Pin) + "\n"
	}
	if len(r.URLs) > 1 {
		for _, u := range r.URLs[1:] {
			talk += "also at " + printable(u) + "\n"
		}
	}
	if len(r.Commands) > 0 {
		talk += "on the other side:\n"
		for _, c := range r.Commands {
			talk += "  " + printable(c) + "\n"
		}
	}
	p.out.put(toStderr, talk)
}

func (p *servePrinter) access(e Access) {
	switch {
	case p.o.JSON:
		p.offer(toStdout, string(jsonLine(jsonAccess{
			head("access"), jsonTime(e.Time), e.Remote, e.User, e.Method, newJSONPath(e.Path),
			e.Status, e.Bytes, seconds(e.Elapsed), e.Module, e.Route, e.Outcome, e.Cause,
		})))
	case p.o.Verbose > 0:
		user := ""
		if e.User != "" {
			user = printable(e.User) + "@"
		}
		cause := ""
		if e.Cause != "" {
			cause = " " + printable(e.Outcome+": "+e.Cause)
		}
		p.offer(toStderr, fmt.Sprintf("%s %s%s %s %s %d %d %s%s\n", e.Time.UTC().Format(time.RFC3339), user, printable(e.Remote),
			printable(e.Method), printable(e.Path), e.Status, e.Bytes, e.Elapsed.Round(time.Millisecond), cause))
	}
}

func (p *servePrinter) warn(e event.Warn) {
	if p.o.JSON {
		p.offer(toStdout, string(jsonLine(jsonWarning{head("warning"), newJSONPath(e.Path), e.Text, e.Partial})))
		return
	}
	p.offer(toStderr, (&lines{}).warning(e))
}

// offer prints a line if it can be printed now, after the number of those that
// could not.
func (p *servePrinter) offer(to stream, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.full() {
		p.dropped++
		return
	}
	if p.dropped > 0 {
		gap := event.Warn{Text: plural(p.dropped, "line was", "lines were") + " dropped, the reader is slow"}
		line := (&lines{}).warning(gap)
		if p.o.JSON {
			line = string(jsonLine(jsonWarning{jsonHead: head("warning"), Text: gap.Text}))
		}
		p.dropped = 0
		p.out.put(to, line)
	}
	p.out.put(to, text)
}

func (p *servePrinter) close() error { return p.out.close() }
