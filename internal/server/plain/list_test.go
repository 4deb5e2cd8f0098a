package plain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

type listing struct {
	Schema  int
	Path    string
	Entries []struct {
		Name, Name_b64, Type, Target string
		Size                         *int64
		MTime                        time.Time
	}
}

func TestJSON(t *testing.T) {
	root := tree(t)
	h := handler(root)
	w := get(h, "/m/mod/", "Accept", "application/json")
	var l listing
	must(t, json.Unmarshal(w.Body.Bytes(), &l))
	if l.Schema != 1 || l.Path != "" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%+v, %v", l, w.Header())
	}
	names, err := os.ReadDir(root)
	must(t, err)
	if len(l.Entries) != len(names)-1 {
		t.Errorf("%d entries, %d names", len(l.Entries), len(names))
	}
	seen := map[string]string{}
	last := ""
	for _, e := range l.Entries {
		name := e.Name
		if e.Name_b64 != "" {
			b, err := base64.StdEncoding.DecodeString(e.Name_b64)
			must(t, err)
			name = string(b)
		}
		if name <= last {
			t.Errorf("%q follows %q", name, last)
		}
		last = name
		seen[name] = e.Type + " " + e.Target
		fi, err := os.Lstat(root + "/" + name)
		must(t, err)
		if !e.MTime.Equal(fi.ModTime()) || (e.Size != nil) != fi.Mode().IsRegular() || e.Size != nil && *e.Size != fi.Size() {
			t.Errorf("%q: %+v, %v", name, e, fi)
		}
	}
	for name, want := range map[string]string{
		"hello.txt": "file ", "sub": "directory ", "fifo": "fifo ", "out": "symlink ../secret", "bad\xff\xfename": "file ", "new\nline": "file ",
	} {
		if seen[name] != want {
			t.Errorf("%q is %q, want %q", name, seen[name], want)
		}
	}
	must(t, json.Unmarshal(get(h, "/m/mod/dir/?format=json").Body.Bytes(), &l))
	if l.Path != "sub/deep" || len(l.Entries) != 1 {
		t.Errorf("%+v", l)
	}
	if b := get(h, "/m/mod/sub/?format=json").Body.String(); strings.Contains(b, "hidden") {
		t.Errorf("what is hidden is listed: %s", b)
	}
}

// TestHTMLLinksLeadToTheirFiles follows every link as a browser would.
func TestHTMLLinksLeadToTheirFiles(t *testing.T) {
	h := handler(tree(t))
	page := get(h, "/m/mod/", "Accept", "text/html, application/json;q=0.9")
	if ct := page.Header().Get("Content-Type"); ct != "text/html; charset=utf-8" {
		t.Error(ct)
	}
	body := page.Body.String()
	if strings.Contains(body, "<b>") || strings.Contains(body, "./.ropeway") || strings.Contains(body, "new\nline") {
		t.Error(body)
	}
	base, err := url.Parse("http://host/m/mod/")
	must(t, err)
	ok := 0
	for _, part := range strings.Split(body, `<a href="`)[1:] {
		href := part[:strings.IndexByte(part, '"')]
		href = strings.NewReplacer("&amp;", "&", "&#39;", "'", "&#34;", `"`).Replace(href)
		ref, err := base.Parse(href)
		must(t, err)
		w := get(h, ref.RequestURI())
		if w.Code == 200 || w.Code == 301 {
			ok++
		} else if w.Code != 404 {
			t.Errorf("%s: %d", href, w.Code)
		}
	}
	if ok != 14 {
		t.Errorf("%d links lead somewhere", ok)
	}
}

func TestLargeListing(t *testing.T) {
	root := t.TempDir()
	const count = 3000
	for i := range count {
		write(t, fmt.Sprintf("%s/%05d-%s", root, count-i, repeat("x", 40)), "")
	}
	h := handler(root)
	srv := httptest.NewServer(h)
	defer srv.Close()
	list := func() (names []string) {
		resp, err := http.Get(srv.URL + "/m/mod/?format=json")
		must(t, err)
		defer resp.Body.Close()
		var l listing
		must(t, json.NewDecoder(resp.Body).Decode(&l))
		for _, e := range l.Entries {
			names = append(names, e.Name)
		}
		if len(names) != count {
			t.Errorf("%d names", len(names))
		}
		return names
	}
	for i, name := range list() {
		if !strings.HasPrefix(name, fmt.Sprintf("%05d-", i+1)) {
			t.Fatalf("name %d is %s", i, name)
		}
	}
	for range maxSorting { // as if others were being sorted
		h.sort <- struct{}{}
	}
	list()
	for range maxSorting {
		<-h.sort
	}
	list()
	if len(h.sort) != 0 {
		t.Error("a permit is not given back")
	}
}
