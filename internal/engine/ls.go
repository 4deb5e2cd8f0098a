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
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
)

// listTries is how often a listing is asked for again after the link broke.
const listTries = 5

// List implements cli.Engine.
func (e *Engine) List(ctx context.Context, o cli.ListOptions, emit func(cli.ListEntry) error) error {
	p, err := e.parsePlace(o.URL, o.Dir)
	if err != nil {
		return err
	}
	if !p.remote {
		return listLocal(p, o.Recursive, emit)
	}
	if o.ConnectTimeout > 0 && (o.Timeout == 0 || o.ConnectTimeout < o.Timeout) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.ConnectTimeout+o.Timeout, fault.New(fault.Network, "run ropeway ls again", "%s does not answer", p.text))
		defer cancel()
	}
	l := &lister{dial: e.dialer(p).Dial, base: strings.TrimSuffix(plainPath(p.url), "/") + "/", recursive: o.Recursive, emit: emit}
	defer l.close()
	if err := l.dir(ctx, ""); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return nil
}

type lister struct {
	dial      job.Dial
	conn      *lane.Conn
	base      string
	recursive bool
	emit      func(cli.ListEntry) error
}

func (l *lister) close() {
	if l.conn != nil {
		l.conn.Close(nil)
	}
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

// fetch gets one listing, again after the link broke.
func (l *lister) fetch(ctx context.Context, rel string) (entries []listed, err error) {
	for try := 1; ; try++ {
		entries, err = l.once(ctx, rel)
		if err == nil || ctx.Err() != nil || try == listTries {
			return entries, err
		}
		if c := fault.ClassOf(err); c != fault.Network && c != fault.Other {
			return nil, err
		}
		l.close()
		l.conn = nil
	}
}

// maxListing bounds a listing, in bytes.
const maxListing = 1 << 30

func (l *lister) once(ctx context.Context, rel string) ([]listed, error) {
	if l.conn == nil {
		c, err := l.dial(ctx)
		if err != nil {
			return nil, err
		}
		l.conn = c
	}
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
	resp, err := l.conn.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json"):
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusNotFound:
		return nil, fault.New(fault.NotFound, "", "/%s: no such directory on the server", rel)
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, fault.New(fault.Denied, "check the token in the URL", "the server refuses access")
	default:
		return nil, fault.New(fault.Network, "", "the server answers %s", resp.Status)
	}
	var list struct{ Entries []listed }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxListing)).Decode(&list); err != nil {
		return nil, fault.Wrap(fault.Network, err, "", "listing of /%s", rel)
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
			if os.IsNotExist(err) || rel == "" && name == job.StateDir {
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
