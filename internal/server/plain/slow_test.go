package plain

import (
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/netsim"
)

// TestSlowAndStoppedReaders serves across a simulated link, in virtual time.
func TestSlowAndStoppedReaders(t *testing.T) {
	root := t.TempDir()
	const size = 8 << 20
	must(t, os.WriteFile(root+"/big", make([]byte, size), 0o644))
	for name, c := range map[string]struct {
		pause time.Duration // before each 256 KiB
		whole bool
	}{
		"slow": {100 * time.Second, true}, "stopped": {5 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := netsim.Params{Delay: 10 * time.Millisecond, Queue: 64 << 10, Window: 64 << 10}
				link := netsim.New(p, p, 1)
				ln, err := link.Listen("far:80")
				must(t, err)
				srv := &http.Server{Handler: handler(root)}
				go func() { _ = srv.Serve(ln) }()
				tr := &http.Transport{DialContext: link.DialContext}
				client := &http.Client{Transport: tr}
				resp, err := client.Get("http://far:80/m/mod/big")
				must(t, err)
				n := int64(0)
				for {
					time.Sleep(c.pause)
					k, err := io.CopyN(io.Discard, resp.Body, 256<<10)
					if n += k; err != nil {
						break
					}
				}
				if (n == size) != c.whole {
					t.Errorf("%d bytes of %d", n, size)
				}
				_ = resp.Body.Close()
				if c.whole { // the deadline does not outlive the response
					time.Sleep(time.Hour)
					resp, err := client.Get("http://far:80/m/mod/?format=json")
					must(t, err)
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Error(err)
					}
					_ = resp.Body.Close()
					if st := link.Stats(); st.Opened != 1 {
						t.Errorf("%d connections", st.Opened)
					}
				}
				tr.CloseIdleConnections()
				must(t, srv.Close())
			})
		})
	}
}
