package engine

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path"
	"path/filepath"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/filter"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Sync implements cli.Engine.
func (e *Engine) Sync(ctx context.Context, o cli.SyncOptions, report event.Func) error {
	set, err := rules(o)
	if err != nil {
		return err
	}
	dst, err := e.parsePlace(o.Dest, o.Dir)
	if err != nil {
		return err
	}
	var (
		srcs    []place
		remotes int
		inside  int
	)
	for _, s := range o.Sources {
		p, err := e.parsePlace(s, o.Dir)
		if err != nil {
			return err
		}
		p.within = p.within || o.FilesFrom != "" // the list is relative to it
		if p.remote {
			remotes++
		}
		if p.within {
			inside++
		}
		srcs = append(srcs, p)
	}
	switch {
	case dst.remote && remotes > 0:
		return fault.New(fault.Usage, "sync to a local directory first", "source and destination are both on servers")
	case o.Delete && inside > 0 && len(srcs) > 1:
		return fault.New(fault.Usage, "leave out the trailing slashes, or sync the sources one by one", "--delete with the contents of several sources would delete what the others bring")
	}
	total := &event.Summary{DryRun: o.DryRun, Unchanged: true}
	var soft error // the sync went on after it
	for _, src := range srcs {
		report(event.Start{Verb: "sync", Source: src.text, Destination: dst.text, DryRun: o.DryRun})
		sum, err := e.one(ctx, o, set, src, dst, report)
		if sum != nil {
			add(total, sum)
		}
		switch fault.ClassOf(err) {
		case fault.OK:
		case fault.Partial, fault.Limit:
			if sum == nil {
				return err
			}
			soft = err
		default:
			return err
		}
	}
	report(*total)
	return soft
}

// one syncs one source.
func (e *Engine) one(ctx context.Context, o cli.SyncOptions, set *filter.Set, src, dst place, report event.Func) (*event.Summary, error) {
	jo := options(o, set, report)
	jo.From = src.text
	if dst.remote {
		return e.push(ctx, jo, src, dst, o.Mirrors)
	}
	jo.Dest = dst.path
	if src.remote {
		return e.pull(ctx, jo, src, dst, o.Mirrors)
	}
	return e.local(ctx, jo, src, dst)
}

// options are those of the command line that every sync shares.
func options(o cli.SyncOptions, set *filter.Set, report event.Func) job.Options {
	var mask manifest.Mask
	for bit, on := range map[manifest.Mask]bool{
		manifest.Perm: o.Perms, manifest.Times: o.Times, manifest.Owner: o.Owner, manifest.Group: o.Group, manifest.Links: o.Links,
	} {
		if on {
			mask |= bit
		}
	}
	jo := job.Options{
		// With a list the filter knows which directories to go into.
		Mask: mask, Recursive: o.Recursive || o.FilesFrom != "", Filter: set, Checksum: o.Checksum, Whole: o.WholeFile, NoWhole: o.NoWholeFile, MinBytes: o.MinBytes,
		Delete: o.Delete, MaxDelete: o.MaxDelete, Atomic: o.Atomic, Early: o.Land == "early", Fsync: o.Fsync,
		OmitRoot: o.FilesFrom != "", TempDir: o.TempDir, DryRun: o.DryRun, Holder: holder("ropeway sync"),
		Timeout: o.Timeout, ConnectTimeout: o.ConnectTimeout, BwLimit: o.BwLimit, Nice: o.Nice, Events: report,
	}
	if o.BwTimes != nil {
		jo.Rate = o.BwTimes.At
	}
	return jo
}

// pull syncs from a server.
func (e *Engine) pull(ctx context.Context, jo job.Options, src, dst place, mirrors []string) (*event.Summary, error) {
	d := e.dialer(src, &jo)
	if src.url.Module == "" {
		return nil, fault.New(fault.Usage, "list the modules with: ropeway ls "+src.text, "%s names no module", src.text)
	}
	if err := e.mirrors(&jo, d, src, mirrors); err != nil {
		return nil, err
	}
	jo.Dial, jo.Module, jo.Path = d.Dial, src.url.Module, src.url.Path
	if !src.within {
		jo.One, jo.OmitRoot = true, true
		if err := e.target(&jo, path.Base(src.url.Path), dst, func() (bool, error) { return isFile(ctx, d.Dial, src, &jo) }); err != nil {
			return nil, err
		}
	}
	return job.Run(ctx, jo)
}

// target decides where a source without a trailing slash lands: in the
// directory DST, or, when it is a file and DST is none, as DST.
func (e *Engine) target(jo *job.Options, name string, dst place, isFile func() (bool, error)) error {
	if info, err := os.Stat(dst.path); dst.within || err == nil && info.IsDir() {
		return nil
	}
	file, err := isFile()
	if err != nil || !file {
		return err
	}
	if filepath.Base(dst.path) != name {
		return fault.New(fault.Usage, "name the file "+name+", or give a directory as destination", "a file cannot be renamed on the way (%s to %s)", name, filepath.Base(dst.path))
	}
	jo.Dest = filepath.Dir(dst.path)
	return nil
}

// isFile asks the server whether a place is a regular file.
func isFile(ctx context.Context, dial job.Dial, p place, jo *job.Options) (file bool, err error) {
	a := newAsker(ctx, dial, jo.Timeout, jo.ConnectTimeout, jo.Events)
	defer a.close()
	err = a.ask(ctx, "file", func(ctx context.Context, c *lane.Conn, alive func()) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://ropeway"+plainPath(p.url), nil)
		if err != nil {
			return fault.Wrap(fault.Usage, err, "", "%s", p.text)
		}
		resp, err := c.RoundTrip(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		alive()
		switch s := resp.StatusCode; {
		case s == http.StatusUnauthorized || s == http.StatusForbidden:
			return fault.New(fault.Denied, "check the token in the URL", "%s: the server refuses access", p.text)
		case s >= 500 || s == http.StatusTooManyRequests:
			return refusal(resp)
		}
		file = resp.StatusCode == http.StatusOK // or a directory; what is missing the job reports
		return nil
	})
	return file, err
}

// rules builds the filter in the order of the command line.
func rules(o cli.SyncOptions) (*filter.Set, error) {
	var b filter.Builder
	b.Open = o.Open
	b.SetRecursive(o.Recursive)
	b.SetNul(o.From0)
	for _, r := range o.Rules {
		var err error
		switch r.Kind {
		case "include":
			err = b.Include(r.Value)
		case "exclude":
			err = b.Exclude(r.Value)
		case "filter":
			err = b.Filter(r.Value)
		case "include-from", "exclude-from":
			err = fromFile(&b, o, r)
		}
		if err != nil {
			return nil, err
		}
	}
	if o.FilesFrom != "" {
		f, err := o.Open(o.FilesFrom)
		if err != nil {
			return nil, unreadable("--files-from", err)
		}
		defer func() { _ = f.Close() }()
		if err := b.Only(f, o.FilesFrom, o.From0); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

func fromFile(b *filter.Builder, o cli.SyncOptions, r cli.Rule) error {
	f, err := o.Open(r.Value)
	if err != nil {
		return unreadable("--"+r.Kind, err)
	}
	defer func() { _ = f.Close() }()
	if r.Kind == "include-from" {
		return b.IncludeFrom(f, r.Value)
	}
	return b.ExcludeFrom(f, r.Value)
}

func unreadable(flag string, err error) error {
	class := fault.Usage
	if errors.Is(err, os.ErrPermission) {
		class = fault.Denied
	}
	return fault.Wrap(class, err, "", "%s", flag)
}

// add sums what several sources did.
func add(t, s *event.Summary) {
	t.Unchanged = t.Unchanged && s.Unchanged
	t.Files += s.Files
	t.Dirs += s.Dirs
	t.Symlinks += s.Symlinks
	t.Bytes += s.Bytes
	t.Transferred += s.Transferred
	t.Created += s.Created
	t.Deleted += s.Deleted
	t.Literal += s.Literal
	t.Reused += s.Reused
	t.Moved += s.Moved
	t.WireIn += s.WireIn
	t.WireOut += s.WireOut
	t.Retries += s.Retries
	t.LinkDown += s.LinkDown
	t.Elapsed += s.Elapsed
	t.SentTCP += s.SentTCP
	t.ResentTCP += s.ResentTCP
	t.Limit, t.LimitDetail, t.RTT, t.Congestion, t.Via = s.Limit, s.LimitDetail, s.RTT, s.Congestion, s.Via
	t.Skipped += s.Skipped
	t.Failed += s.Failed
	t.Tree = s.Tree
}
