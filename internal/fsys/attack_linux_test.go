//go:build !osroot

package fsys

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ropeway/ropeway/internal/fstest"
)

// TestSwapAttack lets someone swap a directory and a symlink to a directory
// outside, as fast as possible, while every kind of work goes on below it.
func TestSwapAttack(t *testing.T) {
	outside := t.TempDir()
	fstest.Tree(t, outside, fstest.Spec{
		"sub/keep": fstest.File("keep").Mode(0o640).At(1, 2), "sub/deep/keep": fstest.File("keep"), "keep": fstest.File("keep"),
		"victim": fstest.File("victim").Mode(0o600).At(3, 4), ".": fstest.Dir().At(5, 6), "sub": fstest.Dir().At(7, 8), "sub/deep": fstest.Dir().At(9, 10),
	})
	want := fstest.Snapshot(t, outside)
	d, path := open(t, fstest.Spec{
		"dir/sub/x": fstest.File(""), "link": fstest.Link(outside), "file": fstest.File("mine"),
		"filelink": fstest.Link(outside + "/victim"),
	})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	swap := func(a, b string) {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(path, a), unix.AT_FDCWD, filepath.Join(path, b), unix.RENAME_EXCHANGE)
			}
		}
	}
	wg.Go(func() { swap("dir", "link") })
	wg.Go(func() { swap("file", "filelink") })
	ctx := context.Background()
	tree := NewTree(d)
	through, refused := 0, 0
	deadline := time.Now().Add(2 * time.Second)
	for i := 0; i < 20_000 && time.Now().Before(deadline); i++ {
		mode, owner := uint32(0o777), uint32(os.Getuid())
		attr := Attr{Mode: &mode, Times: &Times{Sec: 99}, Owner: &owner}
		_ = d.SetAttr("file", attr)
		if f, err := d.OpenFileRW("file"); err == nil {
			_, _ = f.WriteAt([]byte("evil"), 0)
			_ = f.Close()
		}
		if l, err := d.Lock("file"); err == nil {
			_ = l.SetText("evil")
			_ = l.Unlock()
		}
		_ = d.SetAttr("dir", attr)
		if i%3 == 0 {
			tree.Forget("dir")
		}
		if mine, err := d.Child("dir"); err == nil {
			_ = mine.Mkdir("sub", 0o755)
			if i%5 == 0 {
				_ = mine.RemoveAll(ctx, "sub")
			}
			_ = mine.Close()
		}
		sub, _, err := tree.Parent("dir/sub/x")
		if err != nil {
			if !IsNotExist(err) {
				t.Fatal(err)
			}
			refused++
			continue
		}
		through++
		_ = sub.Remove("keep")
		_ = sub.RemoveAll(ctx, "deep")
		_ = sub.SetDirAttr(attr)
		if f, err := sub.CreateFile(fmt.Sprint("evil", i), 0o644); err == nil {
			_ = f.Close()
		}
	}
	close(stop)
	wg.Wait()
	tree.Close()
	t.Logf("%d times through, %d times refused", through, refused)
	fstest.Equal(t, want, fstest.Snapshot(t, outside))
}

// TestRemoveAllAttack swaps directories inside of what is being removed.
func TestRemoveAllAttack(t *testing.T) {
	outside := t.TempDir()
	fstest.Tree(t, outside, fstest.Spec{"keep/keep": fstest.File("keep"), "f": fstest.File("f")})
	want := fstest.Snapshot(t, outside)
	for round := range 50 {
		spec := fstest.Spec{"top/link": fstest.Link(outside)}
		for i := range 20 {
			spec[fmt.Sprintf("top/d%d/keep/f", i)] = fstest.File("")
		}
		d, path := open(t, spec)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := round; ; i++ {
				select {
				case <-stop:
					return
				default:
					_ = unix.Renameat2(unix.AT_FDCWD, fmt.Sprintf("%s/top/d%d", path, i%20), unix.AT_FDCWD, path+"/top/link", unix.RENAME_EXCHANGE)
				}
			}
		})
		_ = d.RemoveAll(context.Background(), "top")
		close(stop)
		wg.Wait()
	}
	fstest.Equal(t, want, fstest.Snapshot(t, outside))
}

func TestSpecialFilesDoNotBlock(t *testing.T) {
	d, path := open(t, fstest.Spec{"fifo": fstest.Fifo().Mode(0o666), "dir": fstest.Dir()})
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	check(t, err)
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(path, "sock")}); err != nil {
		t.Log("no socket:", err)
	}
	for _, name := range list(t, d) {
		_, _, err := d.OpenFile(name)
		wantErr(t, err, ErrNotRegular)
		_, err = d.OpenFileRW(name)
		wantErr(t, err, ErrNotRegular)
		if _, err := d.Lock(name); err == nil {
			t.Errorf("%q was locked", name)
		}
		if name != "dir" {
			_, err = d.Child(name)
			wantErr(t, err, ErrNotDir)
		}
	}
	// The moment between looking and opening: a FIFO must not block the open
	// itself either.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	check(t, os.WriteFile(filepath.Join(path, "file"), nil, 0o644))
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, path+"/file", unix.AT_FDCWD, path+"/fifo", unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 5000 {
		if f, _, err := d.OpenFile("file"); err == nil {
			_ = f.Close()
		}
	}
	close(stop)
	wg.Wait()
}
