package land

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/manifest"
)

// OpKind is what an Op does.
type OpKind uint8

// The kinds of operations. Their values are part of the format of ops.
const (
	OpMkdir   OpKind = 1 // make a directory, in place of whatever else is there
	OpFile    OpKind = 2 // put the staged file in place
	OpSymlink OpKind = 3 // make a symlink
	OpAttr    OpKind = 4 // set attributes of what is there
	OpDelete  OpKind = 5 // remove one object; a directory only when it is empty by then
)

func (k OpKind) String() string {
	switch k {
	case OpMkdir:
		return "mkdir"
	case OpFile:
		return "file"
	case OpSymlink:
		return "symlink"
	case OpAttr:
		return "attributes"
	case OpDelete:
		return "delete"
	}
	return fmt.Sprintf("operation %d", uint8(k))
}

// Op is one step from the old tree to the new one.
type Op struct {
	Kind   OpKind
	Entry  manifest.Entry // OpDelete: only Path counts, and Type for reports
	Change string         // for event.Item; nothing is reported when it is empty

	done bool // put in place early
	dir  bool // OpDelete: the caller said that it is a directory
}

// check refuses what does not fit together.
func (op *Op) check() error {
	if op.Kind == OpDelete {
		if op.Entry.Path == "" {
			return errors.New("land: the root is not deleted")
		}
		return checkPath(op.Entry.Path)
	}
	if err := op.Entry.Check(); err != nil {
		return err
	}
	if err := checkPath(op.Entry.Path); err != nil {
		return err
	}
	t := op.Entry.Type
	switch {
	case op.Kind == OpMkdir && t == manifest.Dir,
		op.Kind == OpFile && t == manifest.File,
		op.Kind == OpSymlink && t == manifest.Symlink,
		op.Kind == OpAttr && (t == manifest.Dir || t == manifest.File || t == manifest.Symlink):
		return nil
	}
	return fmt.Errorf("land: %v for the %v %q", op.Kind, t, op.Entry.Path)
}

// Flags of a stored operation.
const (
	flagDone = 1 << iota
	flagDir
)

// encode makes a record of op, with the kind, flags and the change in Ext.
func (op *Op) encode(r *manifest.Record, ext []byte) []byte {
	flags := byte(0)
	if op.done {
		flags |= flagDone
	}
	if op.Entry.Type == manifest.Dir {
		flags |= flagDir
	}
	ext = append(ext[:0], byte(op.Kind), flags)
	ext = append(ext, op.Change...)
	*r = manifest.Record{Entry: op.Entry, Ext: ext}
	if op.Kind == OpDelete {
		*r = manifest.Record{Op: manifest.Del, Entry: manifest.Entry{Path: op.Entry.Path}, Ext: ext}
	}
	return ext
}

func (op *Op) decode(r *manifest.Record) error {
	if len(r.Ext) < 2 || r.Ext[1] > flagDone|flagDir {
		return errors.New("land: malformed operation")
	}
	*op = Op{Kind: OpKind(r.Ext[0]), Entry: r.Entry, Change: string(r.Ext[2:]), done: r.Ext[1]&flagDone != 0, dir: r.Ext[1]&flagDir != 0}
	if (op.Kind == OpDelete) != (r.Op == manifest.Del) {
		return errors.New("land: malformed operation")
	}
	return op.check()
}

// opWriter stores operations as they arrive.
type opWriter struct {
	*list
	puts manifest.Ordered
	dels manifest.Ordered
	ext  []byte
	rec  manifest.Record
}

// Add notes an operation, to be executed by Land. Operations but OpDelete
// arrive in canonical order of their paths, and so do those of kind OpDelete;
// the two may be interleaved in any way. With Options.Early an OpFile arrives
// once its file is finished, in any order, and is executed at once if nothing
// is in its way. A directory must be deleted after, that is be listed before,
// everything below it; what is not listed stays, and the directory with it.
// With DryRun the operation is only reported.
func (a *Area) Add(op *Op) error {
	if err := op.check(); err != nil {
		return fault.Wrap(fault.Integrity, err, "", "the plan is wrong")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.o.DryRun {
		a.report(op)
		return nil
	}
	if a.landed {
		return errors.New("land: the tree has landed")
	}
	if a.ops == nil {
		w, err := a.newList(nameOps, kindOps)
		if err != nil {
			return wrap(err, "", "cannot write the list of operations")
		}
		a.ops = &opWriter{list: w}
	}
	o := a.ops
	order := &o.puts
	switch {
	case op.Kind == OpDelete:
		order = &o.dels
	case op.Kind == OpFile && a.o.Early:
		order = nil
	}
	if order != nil {
		if err := order.Check(op.Entry.Path); err != nil {
			return fault.Wrap(fault.Integrity, err, "", "the plan is wrong")
		}
	}
	if a.early != nil {
		op.done = a.early.now(op)
	}
	o.ext = op.encode(&o.rec, o.ext)
	if err := o.Append(&o.rec); err != nil {
		return wrap(err, "", "cannot write the list of operations")
	}
	return nil
}

// report counts and tells what a dry run would do.
func (a *Area) report(op *Op) {
	if op.Kind == OpDelete {
		a.dry.Deleted++
	} else {
		a.dry.Landed++
	}
	emitItem(a.o.Events, op, op.Entry.Type == manifest.Dir)
}

func emitItem(to event.Func, op *Op, dir bool) {
	if op.Change == "" {
		return
	}
	e := &op.Entry
	to(event.Item{Path: e.Path, Change: op.Change, Dir: dir, Target: e.Target, Size: e.Size})
}

// finishOps ends the list and returns how many operations it holds.
func (a *Area) finishOps() (int64, error) {
	if a.ops == nil {
		return 0, nil
	}
	o := a.ops
	a.ops = nil
	err := o.close(digest.Digest{}, 0, false)
	return o.Count(), err
}

// eachOp calls fn for every operation in the order of Add. What op points to
// is valid during the call only.
func (l *landing) eachOp(ctx context.Context, fn func(op *Op) error) error {
	r, f, _, err := openList(l.a.state, nameOps, kindOps)
	if err != nil {
		return fmt.Errorf("list of operations: %w", err)
	}
	defer f.Close()
	var rec manifest.Record
	var op Op
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := r.Next(&rec); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("list of operations: %w", err)
		}
		if err := op.decode(&rec); err != nil {
			return err
		}
		if err := fn(&op); err != nil {
			return err
		}
	}
}
