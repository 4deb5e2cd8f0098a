package lane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/http/httpproxy"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/fault"
)

// ProxyFromEnv returns a function for Dialer.Proxy that follows HTTPS_PROXY
// and NO_PROXY, or their names in lower case, as getenv has them.
func ProxyFromEnv(getenv func(string) string) func(*url.URL) (*url.URL, error) {
	either := func(upper, lower string) string {
		if v := getenv(upper); v != "" {
			return v
		}
		return getenv(lower)
	}
	c := httpproxy.Config{HTTPSProxy: either("HTTPS_PROXY", "https_proxy"), NoProxy: either("NO_PROXY", "no_proxy")}
	return c.ProxyFunc()
}

// proxy returns the proxy to use for a server, or nil.
func (d *Dialer) proxy(to *auth.URL) (*url.URL, error) {
	if d.Proxy == nil {
		return nil, nil
	}
	p, err := d.Proxy(&url.URL{Scheme: "https", Host: to.Addr(), Path: "/"})
	if err != nil { // its text can show a password
		return nil, fault.New(fault.Usage, "check HTTPS_PROXY", "the proxy's URL is not valid")
	}
	if p == nil {
		return nil, nil
	}
	if p.Scheme != "http" && p.Scheme != "https" || p.Hostname() == "" {
		return nil, fault.New(fault.Usage, "use http://user:password@host:port", "proxies of the kind %q are not supported", p.Scheme)
	}
	return p, nil
}

func proxyPort(p *url.URL) string {
	switch {
	case p.Port() != "":
		return p.Port()
	case p.Scheme == "https":
		return "443"
	}
	return "80"
}

// connectVia has the proxy at the end of nc connect to target and returns the
// connection to that. The caller closes nc when ctx ends.
func connectVia(ctx context.Context, nc net.Conn, proxy *url.URL, target string, roots *x509.CertPool) (net.Conn, error) {
	if proxy.Scheme == "https" {
		tc := tls.Client(nc, &tls.Config{
			ServerName: proxy.Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
		if err := tc.HandshakeContext(ctx); err != nil {
			var cert *tls.CertificateVerificationError
			if errors.As(err, &cert) {
				return nil, fault.Wrap(fault.Denied, cert.Err, "", "the proxy %s", proxy.Host)
			}
			return nil, err
		}
		nc = tc
	}
	req := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if u := proxy.User; u != nil {
		pass, _ := u.Password()
		req += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pass)) + "\r\n"
	}
	if _, err := nc.Write([]byte(req + "\r\n")); err != nil {
		return nil, err
	}
	br := bufio.NewReader(nc)
	resp, err := readResponse(br, http.MethodConnect)
	if err != nil {
		return nil, err
	}
	switch s := resp.StatusCode; {
	case s == http.StatusOK && br.Buffered() == 0: // the server does not speak first
		return nc, nil
	case s == http.StatusOK:
		return nil, fault.New(fault.Incompatible, "", "the proxy %s said too much", proxy.Host)
	case s == http.StatusProxyAuthRequired:
		return nil, unauthorized(proxy, resp)
	case s >= 500 || s == http.StatusTooManyRequests:
		return nil, fault.New(fault.Network, "", "the proxy %s could not connect to %s: status %d", proxy.Host, target, s)
	default:
		return nil, fault.New(fault.Denied, "have the proxy's administrator allow CONNECT to it, or set NO_PROXY if there is a direct way",
			"the proxy %s refuses to connect to %s: status %d", proxy.Host, target, s)
	}
}

// unauthorized says what is missing.
func unauthorized(proxy *url.URL, resp *http.Response) error {
	const form = "set HTTPS_PROXY=http://user:password@host:port"
	var schemes []string
	basic := false
	for _, v := range resp.Header.Values("Proxy-Authenticate") {
		name, _, _ := strings.Cut(strings.TrimSpace(v), " ")
		if basic = basic || strings.EqualFold(name, "Basic"); len(schemes) < 8 && len(name) <= 32 && validTarget("/"+name) {
			schemes = append(schemes, name)
		}
	}
	switch {
	case len(schemes) > 0 && !basic:
		return fault.New(fault.Denied, "run a local proxy that logs in there, such as cntlm or px, and set HTTPS_PROXY to that",
			"the proxy %s asks for a login by %s, and only Basic is supported", proxy.Host, strings.Join(schemes, " or "))
	case proxy.User == nil:
		return fault.New(fault.Denied, form, "the proxy %s asks for a user and a password", proxy.Host)
	}
	return fault.New(fault.Denied, form, "the proxy %s does not accept user and password", proxy.Host)
}

// stranger returns the fault of a server that could not be verified, with who
// signed its certificate. Our servers sign their own; where one is expected and
// somebody else has signed, TLS is opened on the way.
func stranger(t target, cs tls.ConnectionState, err error) error {
	via := ""
	if t.proxy != nil {
		via = " through the proxy " + t.proxy.Host
	}
	plain := fault.Wrap(fault.ClassOf(err), err, "", "%s%s", t.way.Addr(), via)
	var f *fault.Error
	if len(cs.PeerCertificates) == 0 || !errors.As(err, &f) {
		return plain
	}
	leaf := cs.PeerCertificates[0]
	switch {
	case bytes.Equal(leaf.RawIssuer, leaf.RawSubject):
		return plain
	case t.way.Pin.IsZero():
		return fault.Wrap(f.Class, err, "", "%s%s, signed by %s", t.way.Addr(), via, signer(leaf))
	}
	who := "something on the way"
	if t.proxy != nil {
		who = "the proxy " + t.proxy.Host
	}
	return fault.New(f.Class, "have "+t.way.Addr()+" excepted from TLS inspection, or set NO_PROXY if there is a direct way; nothing was sent",
		"%s: %s intercepts TLS: the certificate that came is signed by %s, not by the server (%s)", t.way.Addr(), who, signer(leaf), f.Text)
}

// signer names who issued a certificate.
func signer(c *x509.Certificate) string {
	name := c.Issuer.CommonName
	if o := c.Issuer.Organization; len(o) > 0 && o[0] != name {
		name = strings.Trim(name+", "+o[0], ", ")
	}
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '"' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(name[:min(len(name), 128)], "?"))
	return `"` + name + `"`
}

var errHead = fault.New(fault.Incompatible, "check the port and the proxy", "the peer does not speak HTTP")

// readHead reads up to the empty line, and nothing beyond it from br. It is at
// most maxHeader bytes.
func readHead(br *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if head = append(head, line...); len(head) > maxHeader {
			return nil, errHead
		}
		if bytes.HasSuffix(head, []byte("\r\n\r\n")) || bytes.HasSuffix(head, []byte("\n\n")) {
			return head, nil
		}
	}
}

// readResponse reads the head of an answer to a request of the method.
func readResponse(br *bufio.Reader, method string) (*http.Response, error) {
	head, err := readHead(br)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: method})
	if err != nil {
		return nil, errHead
	}
	return resp, nil
}

// validTarget is what can stand in the first line of a request.
func validTarget(t string) bool {
	for _, c := range []byte(t) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(t) > 0 && t[0] == '/'
}
