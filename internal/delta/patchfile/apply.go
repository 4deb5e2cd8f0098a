package patchfile

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/ropeway/ropeway/internal/delta/patch"
	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

// Result tells what Apply made.
type Result struct {
	Files, Dirs, Symlinks int64
	Bytes                 int64 // of all files
	Made                  int64 // bytes of files that the patch made; the rest was copied
	Tree                  digest.Digest
}

// ApplyOptions tell where Apply makes what. The zero value makes nothing and
// verifies everything.
type ApplyOptions struct {
	Dest string // path; "": a dry run
	Name string // of it, for messages
}

// Apply makes the new tree of the old one, which was walked without content,
// and of the patch that r yields. It makes it beside Dest and renames it when all
// of it is there and verified, so that Dest is whole or not there. A directory
// must not exist before, a file is replaced. The stage of tell is "stage", in
// files and bytes of the new tree.
func Apply(ctx context.Context, old *Tree, r io.Reader, o ApplyOptions, tell Progress) (*Result, error) {
	s, err := openStream(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return nil, err
	}
	if s.list.single != old.Single {
		return nil, fault.New(fault.Usage, "", "the patch is for a %s, and %s is a %s", kind(s.list.single), old.Name, kind(old.Single))
	}
	b := &builder{ctx: ctx, old: old, s: s, tell: tell, applier: patch.NewApplier(s.head, old.source), buf: make([]byte, 1<<18)}
	defer b.applier.Close()
	if err := b.plan(); err != nil {
		return nil, err
	}
	return b.run(o)
}

func kind(single bool) string {
	if single {
		return "file"
	}
	return "directory"
}

// builder makes one tree.
type builder struct {
	ctx     context.Context
	old     *Tree
	s       *stream
	tell    Progress
	applier *patch.Applier
	steps   []step
	dest    *fsys.Dir // nil: a dry run
	into    *fsys.Tree
	made    map[string]manifest.Entry // files that are copied again
	target  int
	result  Result
	buf     []byte
}

// step is an entry of the new tree and where its content comes from.
type step struct {
	entry manifest.Entry
	op    byte   // opOld, opNew, opTarget: of files
	from  string // opOld, opNew
}

// plan merges the old tree's entries with the listing.
func (b *builder) plan() error {
	recs := b.s.list.records
	under := ""
	at := 0
	targets := 0
	add := func(was *manifest.Entry, r *record) error {
		x := step{op: opOld}
		switch {
		case r == nil:
			x.entry, x.from = *was, was.Path
		case r.op == opDelete:
			under = r.entry.Path
			return nil
		default:
			x.entry, x.from = r.entry, r.from
			if r.op == opAttr {
				if was == nil {
					return b.missing(r.entry.Path)
				}
				x.entry, x.from = *was, was.Path
				if r.flags&hasMode != 0 {
					x.entry.Mode = r.entry.Mode
				}
				if r.flags&hasTime != 0 {
					x.entry.Sec, x.entry.Nsec = r.entry.Sec, r.entry.Nsec
				}
			} else {
				x.op = r.op
			}
			inherits := x.entry.Type != manifest.Symlink && r.flags&hasMode == 0 ||
				b.s.list.mask&manifest.Times != 0 && r.flags&hasTime == 0
			if inherits && r.op != opAttr {
				if was == nil || was.Type != x.entry.Type {
					return b.missing(r.entry.Path)
				}
				if r.flags&hasMode == 0 {
					x.entry.Mode = was.Mode
				}
				if r.flags&hasTime == 0 {
					x.entry.Sec, x.entry.Nsec = was.Sec, was.Nsec
				}
			}
		}
		if x.entry.Type == manifest.File && x.op == opTarget {
			if targets == len(b.s.head.Targets) || b.s.head.Targets[targets].Path != x.entry.Path {
				return damaged("its parts do not belong together")
			}
			targets++
		}
		b.steps = append(b.steps, x)
		return nil
	}
	for i := range b.old.Entries {
		was := &b.old.Entries[i]
		for at < len(recs) && manifest.Compare(recs[at].entry.Path, was.Path) < 0 {
			if err := add(nil, &recs[at]); err != nil {
				return err
			}
			at++
		}
		var r *record
		if at < len(recs) && recs[at].entry.Path == was.Path {
			r = &recs[at]
			at++
		} else if under != "" && manifest.Within(was.Path, under) {
			continue
		}
		if err := add(was, r); err != nil {
			return err
		}
	}
	for ; at < len(recs); at++ {
		if err := add(nil, &recs[at]); err != nil {
			return err
		}
	}
	if targets != len(b.s.head.Targets) || b.old.Single && (len(b.steps) != 1 || b.steps[0].entry.Type != manifest.File) {
		return damaged("its parts do not belong together")
	}
	return nil
}

func (b *builder) missing(p string) error {
	return fault.New(fault.Integrity, "apply it to the tree that it was made from", "%s is not what the patch was made from: %s is missing", b.old.Name, p)
}

// run carries the steps out.
func (b *builder) run(o ApplyOptions) (*Result, error) {
	var dirs []manifest.Entry
	b.made = map[string]manifest.Entry{}
	for i := range b.steps {
		if x := &b.steps[i]; x.op == opNew {
			b.made[x.from] = manifest.Entry{}
		}
	}
	tmp, err := b.begin(o)
	if err != nil {
		return nil, err
	}
	defer tmp.drop()
	for i := range b.steps {
		x := &b.steps[i]
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		switch x.entry.Type {
		case manifest.Dir:
			b.result.Dirs++
			err = b.dir(x)
			dirs = append(dirs, x.entry)
		case manifest.Symlink:
			b.result.Symlinks++
			err = b.symlink(x)
		case manifest.File:
			b.result.Files++
			err = b.file(x, tmp)
			b.result.Bytes += x.entry.Size
			if err == nil {
				err = b.tell("stage", 1, 0)
			}
		default:
			err = damaged("an entry of an unknown type")
		}
		if err != nil {
			return nil, err
		}
	}
	if err := b.verify(); err != nil {
		return nil, err
	}
	if err := b.s.end(); err != nil {
		return nil, err
	}
	for i := len(dirs) - 1; i >= 0 && b.dest != nil; i-- {
		if err := b.attr(dirs[i]); err != nil {
			return nil, err
		}
	}
	return &b.result, tmp.finish()
}

// verify compares the digest of what was made with the listing's.
func (b *builder) verify() error {
	entries := make([]manifest.Entry, len(b.steps))
	for i := range b.steps {
		entries[i] = b.steps[i].entry
	}
	d, err := digestOf(entries, b.s.list.mask, b.old.Single)
	if err != nil {
		return damaged("a file lies in what is no directory")
	}
	if d != b.s.list.tree {
		return fault.New(fault.Integrity, "apply it to the tree that it was made from; 'ropeway diff' tells what differs",
			"%s is not what the patch was made from: a file that the patch only copies differs, or one is there too much", b.old.Name)
	}
	b.result.Tree = d
	return nil
}

// file makes one file.
func (b *builder) file(x *step, tmp *temp) (err error) {
	w := io.Discard
	var f *os.File
	if b.dest != nil || tmp.file != nil {
		if f = tmp.file; f == nil {
			dir, leaf, err := b.into.Parent(x.entry.Path)
			if err != nil {
				return err
			}
			if f, err = dir.CreateFile(leaf, 0o600); err != nil {
				return b.cannot(x.entry.Path, err)
			}
		}
		defer func() {
			if e := f.Close(); err == nil && e != nil {
				err = b.cannot(x.entry.Path, e)
			}
		}()
		w = &writer{b, f, x.entry.Path}
	}
	switch x.op {
	case opTarget:
		x.entry.Size = b.s.head.Targets[b.target].Size
		x.entry.Digest, err = b.applier.Target(b.ctx, b.target, func(_ context.Context, i int) ([]byte, error) { return b.s.window(i) }, w)
		b.target++
		b.result.Made += x.entry.Size
		err = b.explain(x, err)
	case opNew:
		from := b.made[x.from]
		if from.Path == "" {
			return damaged("it copies what is not there")
		}
		x.entry.Digest, x.entry.Size = from.Digest, from.Size
		if f != nil {
			err = b.copyNew(x, w)
		}
	default:
		err = b.copyOld(x, w)
	}
	if err != nil {
		return err
	}
	if _, wanted := b.made[x.entry.Path]; wanted {
		b.made[x.entry.Path] = x.entry
	}
	if f == nil {
		return nil
	}
	a := fsys.Attr{Mode: &x.entry.Mode}
	if b.s.list.mask&manifest.Times != 0 {
		a.Times = &fsys.Times{Sec: x.entry.Sec, Nsec: x.entry.Nsec}
	}
	if err := fsys.SetFileAttr(f, a); err != nil {
		return b.cannot(x.entry.Path, err)
	}
	return nil
}

// writer marks errors of writing as such, and tells of bytes.
type writer struct {
	b    *builder
	f    *os.File
	path string
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil {
		return n, w.b.cannot(w.path, err)
	}
	return n, w.b.tell("stage", 0, int64(n))
}

func (b *builder) cannot(p string, err error) error {
	return fault.New(fsys.Class(err), "", "cannot write %s: %s", p, fsys.Plain(err))
}

// copyOld copies an old file and digests what it wrote.
func (b *builder) copyOld(x *step, w io.Writer) error {
	f, err := b.old.open(x.from)
	if err != nil {
		if fsys.IsNotExist(err) || errors.Is(err, fsys.ErrNotRegular) || errors.Is(err, fsys.ErrNotDir) {
			return b.missing(x.from)
		}
		return b.old.failed(x.from, err)
	}
	defer func() { _ = f.Close() }()
	x.entry.Digest, x.entry.Size, err = digest.SumReader(io.TeeReader(&told{b.ctx, f, func(string, int64, int64) error { return nil }}, w), b.buf)
	var ours *fault.Error
	if err == nil || errors.As(err, &ours) || b.ctx.Err() != nil {
		return err
	}
	return b.old.failed(x.from, err)
}

// copyNew copies a file that was made before, and compares it on the way.
func (b *builder) copyNew(x *step, w io.Writer) error {
	tree := fsys.NewTree(b.dest)
	defer tree.Close()
	dir, leaf, err := tree.Parent(x.from)
	if err != nil {
		return err
	}
	f, _, err := dir.OpenFile(leaf)
	if err != nil {
		return b.cannot(x.from, err)
	}
	defer func() { _ = f.Close() }()
	d, _, err := digest.SumReader(io.TeeReader(f, w), b.buf)
	if err == nil && d != x.entry.Digest {
		err = fault.New(fault.Integrity, "look after the disk", "%s changed after it was written", x.from)
	}
	return err
}

// explain says what an error of a target means to the user.
func (b *builder) explain(x *step, err error) error {
	var ours *fault.Error
	var wrong *patch.MismatchError
	switch {
	case err == nil, errors.As(err, &ours), b.ctx.Err() != nil:
		return err
	case errors.As(err, &wrong) && wrong.Base:
		return fault.New(fault.Integrity, "apply it to what it was made from; 'ropeway diff' tells what differs",
			"%s is not what the patch was made from%s", b.old.at(wrong.Path), inWindow(wrong.Window))
	case errors.As(err, &wrong), errors.Is(err, patch.ErrFormat):
		return fault.New(fault.Integrity, "get the patch file again", "the patch file is damaged: %s comes out wrong", x.entry.Path)
	}
	return err
}

func inWindow(i int) string {
	if i < 0 {
		return ""
	}
	return " (window " + strconv.Itoa(i) + ")"
}

func (b *builder) dir(x *step) error {
	if b.dest == nil || x.entry.Path == "" {
		return nil
	}
	parent, leaf, err := b.into.Parent(x.entry.Path)
	if err == nil {
		err = parent.Mkdir(leaf, 0o700)
	}
	if err != nil {
		return b.cannot(x.entry.Path, err)
	}
	return nil
}

func (b *builder) symlink(x *step) error {
	if b.dest == nil {
		return nil
	}
	parent, leaf, err := b.into.Parent(x.entry.Path)
	if err == nil {
		err = parent.Symlink(x.entry.Target, leaf)
	}
	if err == nil && b.s.list.mask&manifest.Times != 0 {
		err = parent.SetAttr(leaf, fsys.Attr{Times: &fsys.Times{Sec: x.entry.Sec, Nsec: x.entry.Nsec}})
		if errors.Is(err, fsys.ErrUnsupported) {
			err = nil
		}
	}
	if err != nil {
		return b.cannot(x.entry.Path, err)
	}
	return nil
}

// attr gives a directory its attributes, once nothing is written in it any more.
func (b *builder) attr(e manifest.Entry) error {
	a := fsys.Attr{Mode: &e.Mode}
	if b.s.list.mask&manifest.Times != 0 {
		a.Times = &fsys.Times{Sec: e.Sec, Nsec: e.Nsec}
	}
	var err error
	if e.Path == "" {
		err = b.dest.SetDirAttr(a)
	} else {
		var parent *fsys.Dir
		var leaf string
		if parent, leaf, err = b.into.Parent(e.Path); err == nil {
			err = parent.SetAttr(leaf, a)
		}
	}
	if err != nil {
		return b.cannot(e.Path, err)
	}
	return nil
}

// temp is what is made beside the destination, until it is renamed.
type temp struct {
	b      *builder
	parent *fsys.Dir
	name   string // of it
	final  string
	file   *os.File // a single file
	done   bool
}

// begin makes the temporary file or directory.
func (b *builder) begin(o ApplyOptions) (*temp, error) {
	t := &temp{b: b}
	if o.Dest == "" {
		return t, nil
	}
	clean := filepath.Clean(o.Dest)
	t.final = filepath.Base(clean)
	var err error
	if t.parent, err = fsys.OpenDir(filepath.Dir(clean)); err != nil {
		return t, fault.New(fsys.Class(err), "", "cannot write %s: %s", o.Name, fsys.Plain(err))
	}
	info, err := t.parent.Lstat(t.final)
	switch {
	case err == nil && (!b.old.Single || info.Type == manifest.Dir):
		t.drop()
		return t, fault.New(fault.Usage, "choose another name, or remove it before", "%s exists", o.Name)
	case err != nil && !fsys.IsNotExist(err):
		t.drop()
		return t, b.cannot(o.Name, err)
	}
	t.name = "." + t.final + ".ropeway-" + strconv.Itoa(os.Getpid())
	if len(t.name) > manifest.MaxName {
		t.name = ".ropeway-" + strconv.Itoa(os.Getpid())
	}
	if b.old.Single {
		t.file, err = t.parent.CreateFile(t.name, 0o600)
	} else if err = t.parent.Mkdir(t.name, 0o700); err == nil {
		if b.dest, err = t.parent.Child(t.name); err == nil {
			b.into = fsys.NewTree(b.dest)
		}
	}
	if err != nil {
		t.drop()
		return t, b.cannot(path.Join(filepath.Dir(o.Name), t.name), err)
	}
	return t, nil
}

// finish gives what was made its name.
func (t *temp) finish() error {
	if t.parent == nil {
		return nil
	}
	if err := t.parent.SyncFS(); err != nil && !errors.Is(err, fsys.ErrUnsupported) {
		return t.b.cannot(t.final, err)
	}
	t.close()
	if err := t.parent.Rename(t.name, t.parent, t.final); err != nil {
		return t.b.cannot(t.final, err)
	}
	t.done = true
	if err := t.parent.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) {
		return t.b.cannot(t.final, err)
	}
	return nil
}

// close closes the directory that was made: some systems rename none that is
// open.
func (t *temp) close() {
	if t.b.dest != nil {
		t.b.into.Close()
		_ = t.b.dest.Close()
		t.b.dest = nil
	}
}

// drop closes, and removes what was not finished.
func (t *temp) drop() {
	if t.parent == nil {
		return
	}
	t.close()
	if !t.done && t.name != "" {
		// Also after the context has ended.
		_ = t.parent.RemoveAll(context.WithoutCancel(t.b.ctx), t.name)
	}
	_ = t.parent.Close()
	t.parent = nil
}
