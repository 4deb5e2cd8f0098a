package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
)

// List implements cli.Engine.
func (e *Engine) List(ctx context.Context, o cli.ListOptions, emit func(cli.ListEntry) error) error {
	p, err := e.parsePlace(o.URL, o.Dir)
	if err != nil {
		return err
	}
	if !p.remote {
		return listLocal(p, o.Recursive, emit)
	}
	report := o.Report
	if report == nil {
		report = event.Discard
	}
	l := &lister{
		asker: newAsker(ctx, e.dialer(p, nil).Dial, o.Timeout, o.ConnectTimeout, report),
		base:  strings.TrimSuffix(plainPath(p.url), "/") + "/", top: p.url.Path, recursive: o.Recursive, emit: emit,
	}
	defer l.close()
	return l.dir(ctx, "")
}

type lister struct {
	*asker
	base      string // of the URLs
	top       string // within the module
	recursive bool
	emit      func(cli.ListEntry) error
}

// listed is an entry of a server's listing.
type listed struct {
	Name    string    `json:"name"`
	Raw     string    `json:"name_b64"`
	Type    string    `json:"type"`
	Size    int64     `json:"size"`
	MTime   time.Time `json:"mtime"`
	Target  string    `json:"target"`
	RawLink string    `json:"target_b64"`
}

func (l *lister) dir(ctx context.Context, rel string) error {
	entries, err := l.fetch(ctx, rel)
	if err != nil {
		return err
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	for _, x := range entries {
		entry := cli.ListEntry{Path: path.Join(rel, x.Name), Size: x.Size, ModTime: x.MTime, Target: x.Target, Mode: 0o644}
		switch x.Type {
		case "directory", "dir":
			entry.Mode = fs.ModeDir | 0o755
		case "symlink":
			entry.Mode = fs.ModeSymlink | 0o777
		}
		if err := l.emit(entry); err != nil {
			return err
		}
		if l.recursive && entry.Mode.IsDir() {
			if err := l.dir(ctx, entry.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxListing bounds a listing, in bytes.
const maxListing = 1 << 30

// fetch gets one listing.
func (l *lister) fetch(ctx context.Context, rel string) (entries []listed, err error) {
	err = l.ask(ctx, "list", func(ctx context.Context, c *lane.Conn, alive func()) (err error) {
		entries, err = l.once(ctx, c, alive, rel)
		return err
	})
	return entries, err
}

func (l *lister) once(ctx context.Context, c *lane.Conn, alive func(), rel string) ([]listed, error) {
	target := l.base
	if rel != "" {
		for _, part := range strings.Split(rel, "/") {
			target += url.PathEscape(part) + "/"
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://ropeway"+target, nil)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "", "list")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	alive()
	switch {
	case resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"):
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusNotFound:
		return nil, fault.New(fault.NotFound, "", "/%s: no such directory on the server", path.Join(l.top, rel))
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, fault.New(fault.Denied, "check the token in the URL", "the server refuses access")
	default:
		return nil, refusal(resp)
	}
	var list struct{ Entries []listed }
	body := &beating{r: io.LimitReader(resp.Body, maxListing), beat: alive}
	if err := json.NewDecoder(body).Decode(&list); err != nil {
		return nil, fault.Wrap(fault.Network, err, "", "listing of /%s", path.Join(l.top, rel))
	}
	for i := range list.Entries {
		x := &list.Entries[i]
		decode(&x.Name, x.Raw)
		decode(&x.Target, x.RawLink)
		if strings.Contains(x.Name, "/") || manifest.CheckPath(x.Name) != nil || x.Name == "" {
			return nil, fault.New(fault.Integrity, "", "the server lists an impossible name %q", x.Name)
		}
	}
	return list.Entries, nil
}

// beating reports that a body goes on, but not for single bytes that drip in.
type beating struct {
	r    io.Reader
	beat func()
	n    int // bytes since the last report
}

func (b *beating) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.n += n; b.n >= 1<<10 {
		b.n = 0
		b.beat()
	}
	return n, err
}

func decode(s *string, raw string) {
	if raw == "" {
		return
	}
	if b, err := base64.StdEncoding.DecodeString(raw); err == nil {
		*s = string(b)
	}
}

// listLocal lists a local directory, for comparison.
func listLocal(p place, recursive bool, emit func(cli.ListEntry) error) error {
	root, err := fsys.OpenDir(p.path)
	if err != nil {
		return fault.New(fsys.Class(err), "", "%s: %s", p.text, fsys.Plain(err))
	}
	defer func() { _ = root.Close() }()
	var walk func(dir *fsys.Dir, rel string) error
	walk = func(dir *fsys.Dir, rel string) error {
		var names []string
		if err := dir.Names(func(b []byte) error { names = append(names, string(b)); return nil }); err != nil {
			return fault.New(fsys.Class(err), "", "%s: %s", path.Join(p.text, rel), fsys.Plain(err))
		}
		sort.Strings(names)
		for _, name := range names {
			info, err := dir.Lstat(name)
			if os.IsNotExist(err) || manifest.IsState(name) {
				continue
			}
			if err != nil {
				return fault.New(fsys.Class(err), "", "%s: %s", path.Join(p.text, rel, name), fsys.Plain(err))
			}
			entry := cli.ListEntry{Path: path.Join(rel, name), Size: info.Size, ModTime: info.ModTime(), Mode: fs.FileMode(info.Mode & 0o777)}
			switch info.Type {
			case manifest.Dir:
				entry.Mode |= fs.ModeDir
				entry.Size = 0
			case manifest.Symlink:
				entry.Mode |= fs.ModeSymlink
				entry.Target, _ = dir.Readlink(name)
			case manifest.File:
			default:
				entry.Mode |= fs.ModeIrregular
			}
			if err := emit(entry); err != nil {
				return err
			}
			if recursive && info.Type == manifest.Dir {
				child, err := dir.Child(name)
				if err != nil {
					return fault.New(fsys.Class(err), "", "%s: %s", path.Join(p.text, entry.Path), fsys.Plain(err))
				}
				err = walk(child, entry.Path)
				_ = child.Close()
				if err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(root, "")
}
