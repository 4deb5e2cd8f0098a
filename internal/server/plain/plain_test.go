package plain

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/manifest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

// tree makes a module with something of everything and, beside it, a secret.
func tree(t testing.TB) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs symlinks and fifos")
	}
	base := t.TempDir()
	write(t, base+"/secret", "SECRET")
	root := base + "/module"
	write(t, root+"/hello.txt", "hello, world\n")
	write(t, root+"/page.html", "<script>alert(1)</script>")
	write(t, root+"/noext", "x")
	write(t, root+"/sub/deep/file", "deep")
	write(t, root+"/sub/hidden", "HIDDEN")
	write(t, root+"/a:b", "colon")
	write(t, root+"/new\nline", "newline")
	write(t, root+"/bad\xff\xfename", "bytes")
	write(t, root+"/per%20cent?#", "percent")
	write(t, root+"/<b>&\"'", "markup")
	write(t, root+"/.ropeway/index", "PRIVATE")
	for link, target := range map[string]string{
		"ok": "hello.txt", "dir": "sub/deep", "sub/up": "../hello.txt", "sub/there": "../dir/file", "dots": "./sub/./deep//../deep/file",
		"out": "../secret", "abs": base + "/secret", "absin": root + "/hello.txt", "sly": "sub/../../secret", "loop": "loop", "ping": "pong", "pong": "ping",
		"state": ".ropeway/index", "hid": "sub/hidden", "round": "../module/hello.txt", "nowhere": "gone", "through": "hello.txt/x", "self": ".", "rootdir": "sub/..",
	} {
		must(t, os.Symlink(target, root+"/"+link))
	}
	dir, err := fsys.OpenDir(root)
	must(t, err)
	defer dir.Close()
	must(t, dir.Mknod("fifo", manifest.Fifo, 0o644, 0))
	return root
}

func hidden(path string, dir bool) bool { return strings.HasSuffix(path, "hidden") }

func handler(root string) *Handler {
	return New(Options{Lookup: func(r *http.Request, name string) (Module, error) {
		switch name {
		case "mod":
			return Module{Open: func() (*fsys.Dir, error) { return fsys.OpenDir(root) }, Hidden: hidden}, nil
		case "locked":
			return Module{}, fault.New(fault.Denied, "", "not yours")
		}
		return Module{}, fault.New(fault.NotFound, "", "no such module")
	}})
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPaths(t *testing.T) {
	h := handler(tree(t))
	for path, want := range map[string]string{
		"/m/mod/hello.txt":             "hello, world\n",
		"/m/mod/sub/deep/file":         "deep",
		"/m/mod/a:b":                   "colon",
		"/m/mod/new%0Aline":            "newline",
		"/m/mod/bad%ff%FEname":         "bytes",
		"/m/mod/per%2520cent%3F%23":    "percent",
		"/m/mod/%3Cb%3E&%22'":          "markup",
		"/m/mod/ok":                    "hello, world\n",
		"/m/mod/dir/file":              "deep",
		"/m/mod/sub/up":                "hello, world\n",
		"/m/mod/sub/there":             "deep",
		"/m/mod/dots":                  "deep",
		"/m/mod/rootdir/sub/deep/file": "deep",
		"/m/mod/self/self/hello.txt":   "hello, world\n",
	} {
		if w := get(h, path); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %q, want %q", path, w.Code, w.Body, want)
		}
	}
	for path, want := range map[string]int{
		"/m/mod":                       301,
		"/m/mod/sub":                   301,
		"/m/mod/dir":                   301,
		"/m/":                          404,
		"/x/mod/hello.txt":             404,
		"/m/none/":                     404,
		"/m/locked/x":                  401,
		"/m/mod/gone":                  404,
		"/m/mod/hello.txt/":            404,
		"/m/mod/hello.txt/x":           404,
		"/m/mod//hello.txt":            404,
		"/m/mod/./hello.txt":           404,
		"/m/mod/sub/../hello.txt":      404,
		"/m/mod/..%2fsecret":           404,
		"/m/mod/%2e%2e/secret":         404,
		"/m/mod/%00":                   404,
		"/m/mod/out":                   404,
		"/m/mod/abs":                   404,
		"/m/mod/absin":                 404,
		"/m/mod/sly":                   404,
		"/m/mod/round":                 404,
		"/m/mod/loop":                  404,
		"/m/mod/ping":                  404,
		"/m/mod/nowhere":               404,
		"/m/mod/through":               404,
		"/m/mod/.ropeway/":             404,
		"/m/mod/.ropeway/index":        404,
		"/m/mod/.Ropeway/index":        404,
		"/m/mod/state":                 404,
		"/m/mod/sub/hidden":            404,
		"/m/mod/hid":                   404,
		"/m/mod/fifo":                  404,
		"/m/mod/" + repeat("n", 256):   404,
		"/m/mod/" + repeat("n", 255):   404,
		"/m/mod/" + repeat("d/", 3000): 404,
	} {
		if w := get(h, path); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	if w := get(h, "/m/locked/x", "Authorization", "Bearer x"); w.Code != 403 {
		t.Errorf("denied: %d", w.Code)
	}
	if to := get(h, "/m/mod/dir?format=json").Header().Get("Location"); to != "./dir/?format=json" {
		t.Errorf("redirected to %q", to)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/m/mod/hello.txt", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, %v", w.Code, w.Header())
	}
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }

func TestForbidden(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	root := tree(t)
	must(t, os.Chmod(root+"/hello.txt", 0))
	if w := get(handler(root), "/m/mod/hello.txt"); w.Code != 403 {
		t.Errorf("%d", w.Code)
	}
}

func TestStatusOf(t *testing.T) {
	for err, want := range map[error]int{
		&os.PathError{Err: syscall.EACCES}: 403, &os.PathError{Err: syscall.EPERM}: 403, &os.PathError{Err: syscall.ENOENT}: 404,
		&os.PathError{Err: syscall.EMFILE}: 503, &os.PathError{Err: syscall.EIO}: 500, &os.PathError{Err: syscall.ENAMETOOLONG}: 404,
		fault.New(fault.Denied, "", "x"): 403, fault.New(fault.Busy, "", "x"): 503, fsys.ErrNotDir: 404, errNotFound: 404,
	} {
		if got := statusOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// strong waits until the file's ETag is a strong one.
func strong(t *testing.T, h http.Handler, path string) string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		tag := get(h, path).Header().Get("ETag")
		if strings.HasPrefix(tag, `"`) {
			return tag
		}
		if time.Now().After(end) {
			t.Fatalf("the ETag stays %s", tag)
		}
	}
}

func TestConditionsAndRanges(t *testing.T) {
	root := tree(t)
	h := handler(root)
	const path = "/m/mod/hello.txt"
	must(t, os.Chtimes(root+"/hello.txt", time.Time{}, time.Unix(1_700_000_000, 5)))
	if tag := get(h, path).Header().Get("ETag"); !strings.HasPrefix(tag, `W/"`) {
		t.Errorf("the ETag of a file just changed is %s", tag)
	}
	tag := strong(t, h, path)
	w := get(h, path)
	modified := w.Header().Get("Last-Modified")
	if modified != "Tue, 14 Nov 2023 22:13:20 GMT" || w.Header().Get("Accept-Ranges") != "bytes" || w.Header().Get("Content-Length") != "13" {
		t.Errorf("%v", w.Header())
	}
	for _, c := range []struct {
		header []string
		code   int
		body   string
	}{
		{[]string{"Range", "bytes=0-4"}, 206, "hello"},
		{[]string{"Range", "bytes=-6"}, 206, "world\n"},
		{[]string{"Range", "bytes=7-"}, 206, "world\n"},
		{[]string{"Range", "bytes=13-"}, 416, ""},
		{[]string{"Range", "bytes=99-"}, 416, ""},
		{[]string{"Range", "bytes=x"}, 416, ""},
		{[]string{"Range", "bytes=0-4", "If-Range", tag}, 206, "hello"},
		{[]string{"Range", "bytes=0-4", "If-Range", `"other"`}, 200, "hello, world\n"},
		{[]string{"Range", "bytes=0-4", "If-Range", "W/" + tag}, 200, "hello, world\n"},
		{[]string{"Range", "bytes=0-4", "If-Range", modified}, 206, "hello"},
		{[]string{"Range", "bytes=0-4", "If-Range", "Tue, 14 Nov 2023 22:13:21 GMT"}, 200, "hello, world\n"},
		{[]string{"If-None-Match", tag}, 304, ""},
		{[]string{"If-None-Match", "*"}, 304, ""},
		{[]string{"If-None-Match", `"other"`}, 200, "hello, world\n"},
		{[]string{"If-Modified-Since", modified}, 304, ""},
		{[]string{"If-Modified-Since", "Tue, 14 Nov 2023 22:13:19 GMT"}, 200, "hello, world\n"},
		{[]string{"If-Match", `"other"`}, 412, ""},
		{[]string{"Range", "bytes=" + repeat("0-0,", 500) + "0-0"}, 200, "hello, world\n"},
	} {
		w := get(h, path, c.header...)
		if w.Code != c.code || c.body != "" && w.Body.String() != c.body {
			t.Errorf("%q: %d %q, want %d %q", c.header, w.Code, w.Body, c.code, c.body)
		}
	}
	if got := get(h, path, "Range", "bytes=13-").Header().Get("Content-Range"); got != "bytes */13" {
		t.Errorf("416 says %q", got)
	}
	w = get(h, path, "Range", "bytes=0-1,3-4")
	if w.Code != 206 || !strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/byteranges") || !strings.Contains(w.Body.String(), "bytes 3-4/13\r\n") {
		t.Errorf("two ranges: %d %v %q", w.Code, w.Header(), w.Body)
	}

	write(t, root+"/hello.txt", "HELLO, WORLD\n")
	must(t, os.Chtimes(root+"/hello.txt", time.Time{}, time.Unix(1_700_000_000, 5)))
	if w := get(h, path, "If-None-Match", tag); w.Code != 200 {
		t.Errorf("new content under old size and time: %d", w.Code)
	}
}

func TestHeaders(t *testing.T) {
	h := handler(tree(t))
	for path, want := range map[string]string{
		"page.html": "text/html; charset=utf-8", "hello.txt": "text/plain; charset=utf-8", "noext": "application/octet-stream", "ok": "text/plain; charset=utf-8",
	} {
		hd := get(h, "/m/mod/"+path).Header()
		if hd.Get("Content-Type") != want || hd.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(hd.Get("Content-Security-Policy"), "sandbox;") {
			t.Errorf("%s: %v", path, hd)
		}
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, path := range []string{"hello.txt", "", "sub/"} {
		resp, err := http.Head(srv.URL + "/m/mod/" + path)
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != 200 || len(b) != 0 || path == "hello.txt" && resp.ContentLength != 13 {
			t.Errorf("HEAD %q: %v", path, resp)
		}
	}
}

func TestChangeDuringTheReadCutsTheResponse(t *testing.T) {
	root := tree(t)
	const size = 64 << 20
	for name, change := range map[string]func(path string) error{
		"write": func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("x"), size-1)
				_ = f.Close()
			}
			return err
		},
		"truncate": func(p string) error { return os.Truncate(p, size/2) },
		"same times": func(p string) error {
			fi, err := os.Stat(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(p, make([]byte, size), 0); err != nil {
				return err
			}
			return os.Chtimes(p, time.Time{}, fi.ModTime())
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(handler(root))
			defer srv.Close()
			for _, ranges := range []string{"", "bytes=1-", "bytes=0-10,20-"} {
				path := root + "/big"
				must(t, os.WriteFile(path, nil, 0o644))
				must(t, os.Truncate(path, size))
				must(t, os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)))
				req, err := http.NewRequest("GET", srv.URL+"/m/mod/big", nil)
				must(t, err)
				if ranges != "" {
					req.Header.Set("Range", ranges)
				}
				resp, err := http.DefaultClient.Do(req)
				must(t, err)
				_, err = io.ReadFull(resp.Body, make([]byte, 100))
				must(t, err)
				must(t, change(path))
				n, err := io.Copy(io.Discard, resp.Body)
				if err == nil {
					t.Errorf("%q: the response looks complete, %d bytes", ranges, n)
				}
				_ = resp.Body.Close()
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		srv := httptest.NewUnstartedServer(handler(root))
		srv.EnableHTTP2 = true
		srv.StartTLS()
		defer srv.Close()
		path := root + "/big"
		must(t, os.WriteFile(path, nil, 0o644))
		must(t, os.Truncate(path, size))
		resp, err := srv.Client().Get(srv.URL + "/m/mod/big")
		must(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, 100))
		must(t, err)
		must(t, os.Truncate(path, size+1))
		if n, err := io.Copy(io.Discard, resp.Body); err == nil || resp.ProtoMajor != 2 {
			t.Errorf("%s: the response looks complete, %d bytes", resp.Proto, n)
		}
		_ = resp.Body.Close()
	})
	t.Run("replaced", func(t *testing.T) {
		srv := httptest.NewServer(handler(root))
		defer srv.Close()
		path := root + "/big"
		must(t, os.WriteFile(path, nil, 0o644))
		must(t, os.Truncate(path, size))
		resp, err := http.Get(srv.URL + "/m/mod/big")
		must(t, err)
		write(t, root+"/big.new", "new")
		must(t, os.Rename(root+"/big.new", path))
		n, err := io.Copy(io.Discard, resp.Body)
		if n != size || err != nil {
			t.Errorf("%d bytes of the old file, %v", n, err)
		}
		_ = resp.Body.Close()
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"mod/hello.txt", "mod/sub/../../secret", "mod/%2e%2e%2fsecret", "mod//", "mod/sub/up/", "mod/%ff%00", "%6dod/self/out", "mod/dir/file?format=json", "mod/.ropeway", "mod/sly"} {
		f.Add(s)
	}
	h := handler(tree(f))
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI("/m/" + path)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: http.Header{}, ProtoMajor: 1, ProtoMinor: 1})
		b := w.Body.String()
		for _, bad := range []string{"SECRET", "PRIVATE", "HIDDEN"} {
			if strings.Contains(b, bad) {
				t.Errorf("%q yields %s", path, bad)
			}
		}
		switch w.Code {
		case 200, 301, 401, 404:
		default:
			t.Errorf("%q: status %d", path, w.Code)
		}
	})
}
