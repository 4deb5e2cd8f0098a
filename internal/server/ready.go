package server

import (
	"strings"

	"github.com/ropeway/ropeway/internal/auth"
)

// Ready says where a server can be reached.
type Ready struct {
	Addrs   []string // listening addresses, host:port
	Pin     string   // of the server's key
	Modules []Served
}

// Served is a module that can be reached.
type Served struct {
	Name     string
	Root     string // absolute path
	Writable bool
	URLs     []string // what a client is given, best first, with token and pin: secret
	Commands []string // lines for a shell on the other side, by the first URL: secret
}

// readiness describes the running server.
func (s *server) readiness() Ready {
	r := Ready{Pin: s.state.id.Pin.String()}
	for _, l := range s.listeners {
		r.Addrs = append(r.Addrs, l.Addr().String())
	}
	for _, m := range s.cfg.Modules {
		served := Served{Name: m.Name, Root: m.Path, Writable: m.Writable}
		for i, a := range addresses(s.cfg, s.listeners) {
			u := auth.URL{
				Host: a.host, Port: a.port, Module: m.Name, TrailingSlash: true,
				Token: s.state.token, Pin: s.state.id.Pin,
			}
			served.URLs = append(served.URLs, u.String())
			if i == 0 {
				served.Commands = commands(u)
			}
		}
		r.Modules = append(r.Modules, served)
	}
	return r
}

// commands returns what to paste to get the tree by ropeway, to list it by
// curl, and to get it by wget, and a comment on the token in them.
func commands(u auth.URL) []string {
	full, pin := u.String(), quote(u.Pin.String())
	u.Pin = auth.Pin{}
	bare := u.String()
	return []string{
		"ropeway sync -a " + quote(full) + " " + u.Module,
		"curl -k --pinnedpubkey " + pin + " " + quote(bare+"?format=json"),
		"wget -r -np -nH --cut-dirs=1 --no-check-certificate --pinnedpubkey=" + pin + " " + quote(bare),
		"# Others on that host can see command lines. curl -n and wget find the token in ~/.netrc (chmod 600) as well,",
		"# if the URL is without x:TOKEN@: machine " + u.Host + " login x password TOKEN",
	}
}

// quote makes s one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
