package auth

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ropeway/ropeway/internal/fault"
)

// DefaultPort is the TCP port of a server whose URL names none.
const DefaultPort = 8873

// URL names a file or directory of a module of a server:
//
//	https://x:TOKEN@host:port/m/MODULE/PATH/#pin=sha256//BASE64
//
// Token, port, path and pin may be missing; without "/m/MODULE" it names the
// server. Printed by fmt or slog it shows no token.
type URL struct {
	Host          string // name, or IP address without brackets
	Port          int    // 1 to 65535
	Module        string // "" names the server
	Path          string // bytes, slash-separated, no empty, "." or ".." element; "" names the module
	TrailingSlash bool   // of the path: what is in the directory, as rsync has it
	Token         string // "" for none
	Pin           Pin    // zero for none
}

// ParseURL reads what String writes. It returns a Usage fault, whose text
// shows nothing of a token.
func ParseURL(s string) (URL, error) {
	bad := func(text string, args ...any) (URL, error) {
		return URL{}, fault.New(fault.Usage, "write https://x:TOKEN@host:port/m/MODULE/PATH#pin=sha256//…", text, args...)
	}
	if len(s) > 64<<10 {
		return bad("the URL is too long")
	}
	p, err := url.Parse(s)
	switch {
	case err != nil: // its text can show the token
		return bad("this is not a URL")
	case p.Scheme != "https":
		return bad("the URL does not begin with https://")
	case p.Opaque != "" || p.RawQuery != "" || p.ForceQuery:
		return bad("the URL has a query")
	}
	u := URL{Host: canonicalHost(p.Hostname()), Port: DefaultPort}
	if u.Host == "" {
		return bad("the URL has no valid host")
	}
	if text := p.Port(); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return bad("the URL's port is not within 1 and 65535")
		}
		u.Port = int(n)
	} else if strings.HasSuffix(p.Host, ":") {
		return bad("the URL's port is empty")
	}
	if p.User != nil {
		u.Token, _ = p.User.Password()
		if name := p.User.Username(); u.Token == "" && strings.HasPrefix(name, tokenPrefix) {
			u.Token = name
		}
		if !validToken(u.Token) {
			return bad("the URL's token has characters that no token has")
		}
	}
	if u.Module, u.Path, u.TrailingSlash, err = splitPath(p.EscapedPath()); err != nil {
		return bad("%s", err)
	}
	if f := p.EscapedFragment(); f != "" {
		if !strings.HasPrefix(f, "pin=") {
			return bad("the URL's fragment is not #pin=…")
		}
		if u.Pin, err = ParsePin(f); err != nil {
			return URL{}, err
		}
	}
	return u, nil
}

// canonicalHost returns "" for what is no host or could break the text of a
// URL, a header or a log.
func canonicalHost(h string) string {
	if strings.Contains(h, ":") {
		ip, err := netip.ParseAddr(h)
		if err != nil || ip.Zone() != "" && !validModule(ip.Zone()) {
			return ""
		}
		return ip.String()
	}
	if len(h) > 253 || strings.ContainsFunc(h, func(r rune) bool {
		return r <= ' ' || r == 0x7f || r == utf8.RuneError || strings.ContainsRune(`/\?#@[]%<>"^|{}`+"`", r)
	}) {
		return ""
	}
	return strings.ToLower(h)
}

func validToken(s string) bool {
	return len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// validModule is the rule of config.ValidName.
func validModule(s string) bool {
	return s != "" && len(s) <= 64 && s != "." && s != ".." && strings.Trim(s,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// splitPath takes an escaped path apart. Elements are unescaped one by one:
// an escaped slash would otherwise turn one name into two.
func splitPath(escaped string) (module, path string, slash bool, err error) {
	rest := strings.TrimPrefix(escaped, "/")
	if rest == "" {
		return "", "", false, nil
	}
	rest, ok := strings.CutPrefix(rest, "m/")
	if !ok {
		return "", "", false, fmt.Errorf("the URL's path does not begin with /m/MODULE")
	}
	rest, slash = strings.CutSuffix(rest, "/")
	elems := strings.Split(rest, "/")
	for i, e := range elems {
		e, err := url.PathUnescape(e)
		if err != nil || e == "" || e == "." || e == ".." || strings.ContainsAny(e, "/\x00") {
			return "", "", false, fmt.Errorf("the URL's path has an empty, \".\", \"..\" or impossible element")
		}
		elems[i] = e
	}
	if !validModule(elems[0]) {
		return "", "", false, fmt.Errorf("the URL's module name is not 1 to 64 of A-Z a-z 0-9 . _ -")
	}
	return elems[0], strings.Join(elems[1:], "/"), slash, nil
}

// Addr returns "host:port", with brackets around an IPv6 address.
func (u URL) Addr() string { return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)) }

// String returns the whole URL, token included. Show people Redacted.
func (u URL) String() string { return u.text(true) }

// Redacted returns the URL without the token.
func (u URL) Redacted() string { return u.text(false) }

func (u URL) text(secret bool) string {
	var b strings.Builder
	b.WriteString("https://")
	if secret && u.Token != "" {
		b.WriteString(url.UserPassword("x", u.Token).String() + "@")
	}
	host := u.Host
	if strings.Contains(host, ":") {
		host = "[" + strings.ReplaceAll(host, "%", "%25") + "]" // a zone
	}
	b.WriteString(host)
	// The port always: curl and browsers have another default.
	b.WriteString(":" + strconv.Itoa(u.Port) + "/")
	if u.Module != "" {
		b.WriteString("m/" + u.Module)
		if u.Path != "" {
			for _, e := range strings.Split(u.Path, "/") {
				b.WriteString("/" + url.PathEscape(e))
			}
		}
		if u.TrailingSlash {
			b.WriteString("/")
		}
	}
	if !u.Pin.IsZero() {
		b.WriteString("#pin=" + u.Pin.String())
	}
	return b.String()
}

// Format implements fmt.Formatter with Redacted for every verb, so that no
// log line shows the token by accident.
func (u URL) Format(f fmt.State, verb rune) {
	if verb == 'q' {
		io.WriteString(f, strconv.Quote(u.Redacted()))
		return
	}
	io.WriteString(f, u.Redacted())
}

// LogValue implements slog.LogValuer with Redacted.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.Redacted()) }

// WithToken returns u with a token: its own, or that of the environment in
// ROPEWAY_TOKEN, or the content of the file that ROPEWAY_TOKEN_FILE names, or
// fallback. None is no error. A file that cannot be read is a Usage fault.
func (u URL) WithToken(getenv func(string) string, fallback string) (URL, error) {
	if u.Token != "" {
		return u, nil
	}
	u.Token = strings.TrimSpace(getenv("ROPEWAY_TOKEN"))
	if path := getenv("ROPEWAY_TOKEN_FILE"); u.Token == "" && path != "" {
		data, err := readFile(path, 4<<10)
		if err != nil {
			return u, fault.Wrap(fault.Usage, err, "", "ROPEWAY_TOKEN_FILE")
		}
		u.Token = strings.TrimSpace(string(data))
	}
	if u.Token == "" {
		u.Token = fallback
	}
	if !validToken(u.Token) {
		u.Token = ""
		return u, fault.New(fault.Usage, "check ROPEWAY_TOKEN and ROPEWAY_TOKEN_FILE",
			"the token has characters that no token has")
	}
	return u, nil
}
