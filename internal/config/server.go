package config

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
)

// DefaultPort is the TCP port of a server.
const DefaultPort = 8873

// Server is what a server serves and where. The zero value with one module is
// usable after Validate.
type Server struct {
	// Listen are the addresses to accept connections on, "host:port",
	// ":port" or "host". Default: [":8873"], all addresses.
	Listen []string `toml:"listen"`

	// Advertise are further names and addresses for the certificate, by
	// which clients reach this server. Default: none.
	Advertise []string `toml:"advertise"`

	// Ephemeral keeps the key in memory: every start has a new pin.
	// Default: false, the key is kept in the state directory.
	Ephemeral bool `toml:"ephemeral"`

	// Modules are the directories that are served, at least one.
	Modules []Module `toml:"module"`
}

// Module is a directory that is served under a name.
type Module struct {
	Name     string `toml:"name"`     // its word in URLs, see ValidName
	Path     string `toml:"path"`     // absolute directory
	Writable bool   `toml:"writable"` // accepts pushes; default false
	Comment  string `toml:"comment"`  // one line shown in listings
}

// ValidName reports whether s can name a module: 1 to 64 of the characters
// A-Z a-z 0-9 . _ - and neither "." nor "..".
func ValidName(s string) bool {
	if s == "" || len(s) > 64 || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Validate fills in the defaults, brings addresses and paths into canonical
// form and returns a Usage fault for the first mistake. It does not look at
// the file system.
func (s *Server) Validate() error {
	if len(s.Listen) == 0 {
		s.Listen = []string{":" + strconv.Itoa(DefaultPort)}
	}
	for i, a := range s.Listen {
		addr, err := listenAddr(a)
		if err != nil {
			return err
		}
		s.Listen[i] = addr
	}
	for _, h := range s.Advertise {
		if h == "" || len(h) > 253 || strings.ContainsAny(h, " /@\x00") {
			return fault.New(fault.Usage, "give a host name or an IP address", "cannot advertise %q", h)
		}
	}
	if len(s.Modules) == 0 {
		return fault.New(fault.Usage, "give a directory to serve", "no module")
	}
	seen := make(map[string]bool, len(s.Modules))
	for i := range s.Modules {
		m := &s.Modules[i]
		if err := m.validate(); err != nil {
			return err
		}
		if seen[m.Name] {
			return fault.New(fault.Usage, "give each module its own name", "two modules are named %q", m.Name)
		}
		seen[m.Name] = true
	}
	return nil
}

func (m *Module) validate() error {
	if !ValidName(m.Name) {
		return fault.New(fault.Usage, "use 1 to 64 of A-Z a-z 0-9 . _ -", "%q cannot name a module", m.Name)
	}
	if !filepath.IsAbs(m.Path) || strings.ContainsRune(m.Path, 0) {
		return fault.New(fault.Usage, "give an absolute path", "module %s: %q is not an absolute path", m.Name, m.Path)
	}
	m.Path = filepath.Clean(m.Path)
	if strings.ContainsFunc(m.Comment, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(m.Comment) > 1024 {
		return fault.New(fault.Usage, "", "module %s: the comment is not one line of up to 1024 bytes", m.Name)
	}
	return nil
}

// listenAddr adds the default port where there is none.
func listenAddr(a string) (string, error) {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		// "host", "::1" or "[::1]"
		host, port = strings.TrimSuffix(strings.TrimPrefix(a, "["), "]"), strconv.Itoa(DefaultPort)
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", fault.New(fault.Usage, "give host:port or [IPv6]:port", "cannot listen on %q", a)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strings.ContainsAny(host, " /@[]\x00") {
		return "", fault.New(fault.Usage, "give host:port or [IPv6]:port", "cannot listen on %q", a)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}
