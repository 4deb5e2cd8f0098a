package trial

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// JarSize is that of the file that could not be synced, in bytes.
const JarSize = 60_606_801

// smallSize is that of its little sister.
const smallSize = 12_000_000

// jarName is its name.
const jarName = "app-SNAPSHOT.jar"

// payload is what is moved: a directory at the sender, and for an upgrade what
// the receiver has already.
type payload struct {
	name  string
	dir   string // what the destination shall be
	old   string // what it is before; "" for nothing
	file  string // the only file, "" for a tree
	bytes int64
	files int
	names []string // with slashes, of all files
}

// payloads are made when they are first asked for, and kept for the campaign.
type payloads struct {
	dir  string
	made map[string]*payload
}

// Names of payloads.
const (
	Jar     = "jar"     // JarSize bytes that cannot be compressed
	Small   = "small"   // smallSize bytes of the same, for runs that need not be long
	Tree2k  = "tree2k"  // 2,000 files of about 10 kB
	Tree100 = "tree100" // 100,000 files of about 2 kB
	Upgrade = "upgrade" // a release of 40 MB of which about a tenth changes
)

// get makes a payload, or returns the one that was made before.
func (p *payloads) get(ctx context.Context, name string) (*payload, error) {
	if x := p.made[name]; x != nil {
		return x, nil
	}
	dir := filepath.Join(p.dir, "payload-"+name)
	m := &maker{ctx: ctx, rnd: newRand(name)}
	x := &payload{name: name, dir: filepath.Join(dir, "new")}
	switch name {
	case Jar:
		x.file = jarName
		m.file(filepath.Join(x.dir, jarName), JarSize)
	case Small:
		x.file = jarName
		m.file(filepath.Join(x.dir, jarName), smallSize)
	case Tree2k:
		m.tree(x.dir, 2000, 10_000)
	case Tree100:
		m.tree(x.dir, 100_000, 2000)
	case Upgrade:
		x.old = filepath.Join(dir, "old")
		m.upgrade(x.old, x.dir)
	default:
		return nil, fault.New(fault.Usage, "", "no payload %q", name)
	}
	if m.err == nil {
		m.err = x.list()
	}
	if m.err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fault.Wrap(fault.Other, m.err, "give another place with --dir", "the files to be moved cannot be made")
	}
	p.made[name] = x
	return x, nil
}

// list counts and names the files.
func (p *payload) list() error {
	return filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.dir, path)
		p.names = append(p.names, filepath.ToSlash(rel))
		p.files, p.bytes = p.files+1, p.bytes+info.Size()
		return err
	})
}

func newRand(name string) *rand.ChaCha8 {
	return rand.NewChaCha8(sha256.Sum256([]byte("ropeway lab " + name)))
}

// maker writes files of chance, always the same; it stops at the first error.
type maker struct {
	ctx context.Context
	rnd *rand.ChaCha8
	err error

	month time.Month // of what is written, 0 for the first
}

// version is when the files of a version were written: long before they are
// synced, as tools that compare times expect it.
func version(month time.Month) time.Time {
	return time.Date(2024, time.March+month, 1, 12, 0, 0, 0, time.UTC)
}

// file writes a file that cannot be compressed.
func (m *maker) file(name string, size int64) {
	m.write(name, io.LimitReader(m.rnd, size))
}

func (m *maker) write(name string, r io.Reader) {
	if m.err != nil {
		return
	}
	if m.err = m.ctx.Err(); m.err != nil {
		return
	}
	if m.err = os.MkdirAll(filepath.Dir(name), 0o755); m.err != nil {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		m.err = err
		return
	}
	_, err = io.Copy(f, r)
	if m.err = errors.Join(err, f.Close()); m.err == nil {
		at := version(m.month)
		m.err = os.Chtimes(name, at, at)
	}
}

func (m *maker) n(most int) int { return int(m.rnd.Uint64() % uint64(most)) }

// tree writes count files of about size bytes, a hundred in a directory, half
// of each such that it can be compressed.
func (m *maker) tree(dir string, count, size int) {
	for i := range count {
		m.small(filepath.Join(dir, fmt.Sprintf("d%03d", i/100), fmt.Sprintf("f%05d.txt", i)), size/2+m.n(size))
	}
}

func (m *maker) small(name string, size int) {
	head := strings.Repeat(filepath.Base(name)+" of a release\n", size/2/20+1)[:size/2]
	m.write(name, io.MultiReader(strings.NewReader(head), io.LimitReader(m.rnd, int64(size-len(head)))))
}

// upgrade writes two versions of a release: an archive of 30 MB with some
// members replaced and one inserted, 500 files of which every tenth changes, and
// a moved file.
func (m *maker) upgrade(old, fresh string) {
	const members, member = 600, 50_000
	block := make([]byte, member)
	var was, is []byte
	for i := range members {
		_, _ = m.rnd.Read(block) // ChaCha8 never fails
		binary.LittleEndian.PutUint32(block, uint32(i))
		was = append(was, block...)
		switch {
		case i%40 == 7: // a member of another version
			_, _ = m.rnd.Read(block)
		case i == 300: // a new one, so that all behind it moves
			is = append(is, block[:12_345]...)
		}
		is = append(is, block...)
	}
	m.write(filepath.Join(old, jarName), strings.NewReader(string(was)))
	m.month = 1
	m.write(filepath.Join(fresh, jarName), strings.NewReader(string(is)))
	m.month = 0
	for i := range 500 {
		name := filepath.Join("static", fmt.Sprintf("d%d", i/50), fmt.Sprintf("page%03d.js", i))
		b := make([]byte, 5000+m.n(20_000))
		_, _ = m.rnd.Read(b)
		m.write(filepath.Join(old, name), strings.NewReader(string(b)))
		if i%10 == 3 {
			m.month = 1
			copy(b[len(b)/2:], fmt.Sprintf("changed in %d", i))
		}
		if i == 42 {
			name = filepath.Join("static", "moved.js")
		}
		m.write(filepath.Join(fresh, name), strings.NewReader(string(b)))
		m.month = 0
	}
}

// copyTree copies what a receiver has before an upgrade.
func copyTree(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(dst, 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dst, b, 0o644); err != nil {
			return err
		}
		return os.Chtimes(dst, info.ModTime(), info.ModTime())
	})
}

// identical reports whether each file of the payload is in dst, with the same
// SHA-256. What else is there does not count: tools leave lists and state.
func (p *payload) identical(ctx context.Context, dst string) (bool, error) {
	for _, name := range p.names {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		want, err := sum(filepath.Join(p.dir, filepath.FromSlash(name)))
		if err != nil {
			return false, fault.Wrap(fault.Other, err, "", "the original cannot be read")
		}
		got, err := sum(filepath.Join(dst, filepath.FromSlash(name)))
		if err != nil || got != want {
			return false, nil
		}
	}
	return true, nil
}

func sum(name string) (s [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return s, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return s, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
