package lane

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

func proxyAt(s string) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return url.Parse(s) }
}

// connectProxy does CONNECT, if the credentials are right, and passes bytes
// on; intercept is what it does with the target's connection instead.
func connectProxy(t *testing.T, user string, intercept func(net.Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
		u, p, _ := r.BasicAuth()
		switch {
		case r.Method != http.MethodConnect:
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		case user != "" && u+":"+p != user:
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		case strings.HasPrefix(r.Host, "forbidden"):
			w.WriteHeader(http.StatusForbidden)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer up.Close()
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer down.Close()
		io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
		if intercept != nil {
			intercept(down)
			return
		}
		go func() {
			io.Copy(up, down)
			up.Close()
		}()
		io.Copy(down, up)
	})
}

func TestProxy(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{Reverse: func(*http.Request) (func(*Conn), error) {
		return nil, fault.New(fault.Busy, "", "seen")
	}})
	open := httptest.NewServer(connectProxy(t, "", nil))
	defer open.Close()
	secure := httptest.NewUnstartedServer(connectProxy(t, "", nil))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	locked := httptest.NewServer(connectProxy(t, "me:pass word", nil))
	defer locked.Close()
	lockedHost := strings.TrimPrefix(locked.URL, "http://")

	for _, p := range []string{open.URL, "http://me:pass%20word@" + lockedHost} {
		d := &Dialer{Endpoint: u, Proxy: proxyAt(p)}
		c := dial(t, d)
		if got := text(t, get(t, c, "/p")); !strings.HasPrefix(got, "HTTP/2.0 /p") {
			t.Error(got)
		}
		if host := p[strings.LastIndexAny(p, "/@")+1:]; c.Proxy() != host || c.Remote() != host {
			t.Error(c.Proxy(), c.Remote(), host)
		}
		if err := d.Serve(testContext(t), "/", nil, echo); fault.ClassOf(err) != fault.Busy {
			t.Error("reverse:", err)
		}
	}
	if _, err := (&Dialer{Endpoint: u, Proxy: proxyAt(secure.URL)}).Dial(testContext(t)); fault.ClassOf(err) != fault.Denied {
		t.Error("an https proxy that nobody vouches for:", err)
	}
	pool := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	dial(t, &Dialer{Endpoint: u, Proxy: proxyAt(secure.URL), Roots: pool})

	forbidden, gone := u, u
	forbidden.Host, gone.Port = "forbidden.example", 1
	for name, c := range map[string]struct {
		d    *Dialer
		want fault.Class
	}{
		"no credentials":    {&Dialer{Endpoint: u, Proxy: proxyAt(locked.URL)}, fault.Denied},
		"wrong credentials": {&Dialer{Endpoint: u, Proxy: proxyAt("http://me:secret@" + lockedHost)}, fault.Denied},
		"forbidden":         {&Dialer{Endpoint: forbidden, Proxy: proxyAt(open.URL)}, fault.Denied},
		"bad gateway":       {&Dialer{Endpoint: gone, Proxy: proxyAt(open.URL)}, fault.Network},
		"socks":             {&Dialer{Endpoint: u, Proxy: proxyAt("socks5://me:secret@127.0.0.1:1")}, fault.Usage},
		"invalid":           {&Dialer{Endpoint: u, Proxy: proxyAt("http://me:secret@%zz")}, fault.Usage},
	} {
		_, err := c.d.Dial(testContext(t))
		if fault.ClassOf(err) != c.want || strings.Contains(err.Error()+fault.HintOf(err), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestInterception: a proxy that answers in the server's place has another key.
func TestInterception(t *testing.T) {
	u := serve(t, "127.0.0.1:0", identity(t), echo, ServerOptions{})
	fake := identity(t)
	mitm := httptest.NewServer(connectProxy(t, "", func(c net.Conn) {
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{fake.Certificate}, NextProtos: []string{"h2"}})
		if err := tc.HandshakeContext(testContext(t)); err == nil {
			if n, _ := tc.Read(make([]byte, 1)); n > 0 {
				t.Error("something was said to it")
			}
		}
	}))
	defer mitm.Close()
	_, err := (&Dialer{Endpoint: u, Proxy: proxyAt(mitm.URL)}).Dial(testContext(t))
	if fault.ClassOf(err) != fault.Integrity || !strings.Contains(err.Error(), fake.Pin.String()) {
		t.Error(err)
	}
}

func TestProxyFromEnv(t *testing.T) {
	env := map[string]string{"https_proxy": "proxy.example:3128", "NO_PROXY": "inside.example,10.0.0.0/8"}
	f := ProxyFromEnv(func(k string) string { return env[k] })
	for host, want := range map[string]string{"out.example:8873": "http://proxy.example:3128", "a.inside.example:8873": "", "10.1.2.3:1": "", "127.0.0.1:1": ""} {
		p, err := f(&url.URL{Scheme: "https", Host: host})
		if got := ""; err != nil {
			t.Error(err)
		} else {
			if p != nil {
				got = p.String()
			}
			if got != want {
				t.Errorf("%s: %q", host, got)
			}
		}
	}
}
