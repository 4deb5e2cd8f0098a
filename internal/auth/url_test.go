package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

var somePin = Pin{1, 2, 250, 251, 252, 253, 254, 255}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]URL{
		"https://h":                             {Host: "h", Port: 8873},
		"https://H.Example:443/":                {Host: "h.example", Port: 443},
		"https://x:rw_t@h/m/rel":                {Host: "h", Port: 8873, Module: "rel", Token: "rw_t"},
		"https://rw_t@h/m/rel/":                 {Host: "h", Port: 8873, Module: "rel", Token: "rw_t", TrailingSlash: true},
		"https://h/m/a/b/c%20d%2Bé/":            {Host: "h", Port: 8873, Module: "a", Path: "b/c d+é", TrailingSlash: true},
		"https://h/m/a/%ff%0a":                  {Host: "h", Port: 8873, Module: "a", Path: "\xff\n"},
		"https://[::1]:9/m/a":                   {Host: "::1", Port: 9, Module: "a"},
		"https://[0:0::1]/m/a":                  {Host: "::1", Port: 8873, Module: "a"},
		"https://[fe80::1%25Eth0]/m/a":          {Host: "fe80::1%Eth0", Port: 8873, Module: "a"},
		"https://h/m/a#pin=" + somePin.String(): {Host: "h", Port: 8873, Module: "a", Pin: somePin},
	} {
		got, err := ParseURL(in)
		if err != nil || got != want {
			t.Errorf("%s: got %#v, %v", in, got.String(), err)
			continue
		}
		if again, err := ParseURL(got.String()); err != nil || again != got {
			t.Errorf("%s: %s does not come back: %v", in, got.String(), err)
		}
	}
	for _, in := range []string{
		"", "h", "http://h/", "https://", "https:///m/a", "https:h", "https://h/x", "https://h/m", "https://h/m/",
		"https://h/m/..", "https://h/m/a/../b", "https://h/m/a/%2e%2E", "https://h/m/a//b", "https://h/m/a/b%2fc",
		"https://h/m/a/%00", "https://h/m/a?x", "https://h/m/a?", "https://h:0/", "https://h:65536/", "https://h:/",
		"https://h/#pin=sha256//AAAA", "https://h/#pon=x", "https://a b/", "https://x:a%0ab@h/", "https://h/m/ä",
		"https://[::1/", "https://[fe80::1%25a%2fb]/", "https://x:" + strings.Repeat("t", 300) + "@h/",
	} {
		if u, err := ParseURL(in); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: %v, %v", in, u, err)
		}
	}
}

func TestURLHidesToken(t *testing.T) {
	u, err := ParseURL("https://x:rw_secret@h/m/a")
	if err != nil || !strings.Contains(u.String(), "rw_secret") {
		t.Fatal(u.Redacted(), err)
	}
	for _, s := range []string{
		u.Redacted(), fmt.Sprint(u), fmt.Sprintf("%s %v %+v %#v %q %d", u, u, u, u, u, u), fmt.Sprint(&u),
		u.LogValue().String(), fmt.Sprint([]any{u}, struct{ U URL }{u}),
	} {
		if strings.Contains(s, "secret") {
			t.Errorf("shown: %s", s)
		}
	}
	for _, in := range []string{"https://x:rw_secret@h:rw/", "https://x:rw_secret%zz@h", "https://rw_secret@@/", "https://x:rw_secret@h/m/..", "rw_secret://x"} {
		if _, err := ParseURL(in); err == nil || strings.Contains(err.Error()+fault.HintOf(err), "secret") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestWithToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("rw_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	getenv := func(k string) string { return env[k] }
	check := func(u URL, want string) {
		t.Helper()
		if u, err := u.WithToken(getenv, "rw_config"); err != nil || u.Token != want {
			t.Errorf("got %q, %v; want %q", u.Token, err, want)
		}
	}
	check(URL{}, "rw_config")
	env["ROPEWAY_TOKEN_FILE"] = file
	check(URL{}, "rw_file")
	env["ROPEWAY_TOKEN"] = "rw_env"
	check(URL{}, "rw_env")
	check(URL{Token: "rw_url"}, "rw_url")
	env["ROPEWAY_TOKEN"] = "a\nb"
	if _, err := (URL{}).WithToken(getenv, ""); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
	env["ROPEWAY_TOKEN"], env["ROPEWAY_TOKEN_FILE"] = "", file+"x"
	if _, err := (URL{}).WithToken(getenv, ""); fault.ClassOf(err) != fault.Usage {
		t.Error(err)
	}
}

func TestParsePin(t *testing.T) {
	s := somePin.String()
	urlSafe := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimPrefix(s, "sha256//"))
	if !strings.ContainsAny(urlSafe, "-_") {
		t.Fatal("the pin of this test has no such character")
	}
	for _, in := range []string{
		s, " " + s + "\n", "pin=" + s, "#pin=" + s, strings.TrimRight(s, "="), "sha256//" + urlSafe,
		strings.NewReplacer("/", "%2F", "+", "%2B", "=", "%3D").Replace("pin=" + s),
	} {
		if p, err := ParsePin(in); err != nil || p != somePin {
			t.Errorf("%q: %v, %v", in, p, err)
		}
	}
	for _, in := range []string{"", "sha256//", "sha1//" + s[8:], s[8:], s + "AAAA", s[:len(s)-3], "pin=" + s + ";" + s,
		Pin{}.String(), "sha256//" + strings.Repeat("A", 43) + "=", s[:20] + "\n" + s[20:], "%zz"} {
		if p, err := ParsePin(in); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: %v, %v", in, p, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("https://x:rw_t@[::1]:9/m/a/b%20c/#pin=" + somePin.String())
	f.Add("https://h")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s)
		if err != nil {
			return
		}
		again, err := ParseURL(u.String())
		if err != nil || again != u {
			t.Fatalf("%q gave %q, which gave %q, %v", s, u.String(), again.String(), err)
		}
		r, err := ParseURL(u.Redacted())
		if u.Token = ""; err != nil || r != u {
			t.Fatalf("%q: redacted %q, %v", s, u.Redacted(), err)
		}
		for _, e := range strings.Split(u.Path, "/") {
			if e == ".." || e == "." || e == "" && u.Path != "" {
				t.Fatalf("%q: path %q", s, u.Path)
			}
		}
	})
}

func FuzzParsePin(f *testing.F) {
	f.Add(somePin.String())
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePin(s); err == nil {
			if again, err := ParsePin(p.String()); err != nil || again != p {
				t.Fatal(s)
			}
		}
	})
}
