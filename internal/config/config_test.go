package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

func env(kv ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(k string) string { return m[k] }
}

func TestLocate(t *testing.T) {
	home, tmp := t.TempDir(), t.TempDir()
	user := host{os: "linux", uid: os.Geteuid(), tmp: tmp}
	root := host{os: "linux", uid: 0, tmp: tmp}
	nobody := filepath.Join(tmp, "ropeway")
	for name, c := range map[string]struct {
		h    host
		env  func(string) string
		want Paths
	}{
		"home": {user, env("HOME", home), Paths{home + "/.config/ropeway", home + "/.local/state/ropeway", home + "/.cache/ropeway"}},
		"xdg": {user, env("HOME", home, "XDG_STATE_HOME", "/s", "XDG_CACHE_HOME", "relative"),
			Paths{home + "/.config/ropeway", "/s/ropeway", home + "/.cache/ropeway"}},
		"systemd": {user, env("HOME", "/", "STATE_DIRECTORY", "/var/lib/a:/var/lib/b", "CACHE_DIRECTORY", "/c", "CONFIGURATION_DIRECTORY", "/e"),
			Paths{"/e", "/var/lib/a", "/c"}},
		"root":         {root, env(), Paths{"/etc/ropeway", "/var/lib/ropeway", "/var/cache/ropeway"}},
		"root, HOME=/": {root, env("HOME", "/"), Paths{"/etc/ropeway", "/var/lib/ropeway", "/var/cache/ropeway"}},
		"no uid":       {host{os: "plan9", uid: -1, tmp: tmp}, env(), Paths{}},
		"nonexistent": {host{os: "linux", uid: 0}, env("HOME", "/nonexistent/x"),
			Paths{"/etc/ropeway", "/var/lib/ropeway", "/var/cache/ropeway"}},
		"windows": {host{os: "windows", uid: -1, tmp: tmp}, env("APPDATA", "/r", "LOCALAPPDATA", "/l"),
			Paths{"/r/ropeway", "/l/ropeway/state", "/l/ropeway/cache"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no uid" {
				// The owner is unknown to the caller, so the directory cannot be trusted.
				if _, err := locate(c.env, c.h); fault.ClassOf(err) != fault.Denied {
					t.Fatalf("%s: %v", nobody, err)
				}
				return
			}
			got, err := locate(c.env, c.h)
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestLocateTemporary(t *testing.T) {
	tmp := t.TempDir()
	uid := os.Geteuid()
	if uid == 0 {
		// Root never gets here: pretend to be somebody, and own the directory.
		uid = 4711
	}
	h := host{os: "linux", uid: uid, tmp: tmp}
	dir := filepath.Join(tmp, "ropeway-4711")
	if os.Geteuid() == 0 {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := locate(env(), h); fault.ClassOf(err) != fault.Denied {
			t.Fatalf("a directory of another user: %v", err)
		}
		if err := os.Chown(dir, uid, -1); err != nil {
			t.Skip(err)
		}
	}
	p, err := locate(env(), h)
	if err != nil || !strings.HasPrefix(p.State, tmp) || !strings.HasSuffix(p.State, "/state") {
		t.Fatalf("%+v, %v", p, err)
	}
	base := filepath.Dir(p.State)
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := locate(env(), h); fault.ClassOf(err) != fault.Denied {
		t.Fatalf("a directory others can enter: %v", err)
	}
	os.Remove(base)
	if err := os.Symlink(t.TempDir(), base); err != nil {
		t.Fatal(err)
	}
	if _, err := locate(env(), h); fault.ClassOf(err) != fault.Denied {
		t.Fatalf("a link: %v", err)
	}
}

func TestValidName(t *testing.T) {
	for _, s := range []string{"a", "A.b_c-9", "...", strings.Repeat("x", 64)} {
		if !ValidName(s) {
			t.Errorf("%q refused", s)
		}
	}
	for _, s := range []string{"", ".", "..", "a/b", "a b", "ä", "a\x00", strings.Repeat("x", 65)} {
		if ValidName(s) {
			t.Errorf("%q accepted", s)
		}
	}
}

func TestServerValidate(t *testing.T) {
	s := Server{Modules: []Module{{Name: "m", Path: "/srv//m/"}}}
	if err := s.Validate(); err != nil || s.Listen[0] != ":8873" || s.Modules[0].Path != "/srv/m" {
		t.Fatalf("%+v, %v", s, err)
	}
	ok := []Module{{Name: "m", Path: "/m"}}
	for want, in := range map[string]string{"[::1]:8873": "::1", "[::1]:80": "[::1]:80", "h:8873": "h", ":9": ":9"} {
		s := Server{Listen: []string{in}, Modules: ok}
		if err := s.Validate(); err != nil || s.Listen[0] != want {
			t.Errorf("%q: %q, %v", in, s.Listen, err)
		}
	}
	for name, s := range map[string]Server{
		"no module": {},
		"bad name":  {Modules: []Module{{Name: "..", Path: "/m"}}},
		"relative":  {Modules: []Module{{Name: "m", Path: "m"}}},
		"twice":     {Modules: []Module{{Name: "m", Path: "/m"}, {Name: "m", Path: "/n"}}},
		"comment":   {Modules: []Module{{Name: "m", Path: "/m", Comment: "a\nb"}}},
		"port":      {Listen: []string{":99999"}, Modules: ok},
		"host":      {Listen: []string{"a:b:c"}, Modules: ok},
		"advertise": {Advertise: []string{"a b"}, Modules: ok},
	} {
		if err := s.Validate(); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
