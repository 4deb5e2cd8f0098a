package lane

import (
	"net/http"
	"runtime"
	"testing"
)

// TestShape: a request's wish is done for its connection, and taken back.
func TestShape(t *testing.T) {
	type wish struct {
		rate int64
		nice bool
	}
	got := make(chan wish, 1)
	u := serve(t, "127.0.0.1:0", identity(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Shape(r)
		m := meterOf(ConnOf(r.Context()))
		got <- wish{m.paced.Load(), m.nice.Load()}
	}), ServerOptions{})
	c := dial(t, &Dialer{Endpoint: u, LowEffort: true, Pacing: 1 << 20})
	for _, x := range []struct {
		ask, want wish
		raw       string
	}{
		{wish{1 << 20, false}, wish{1 << 20, false}, ""},
		{wish{1, true}, wish{paceLeast, true}, ""},
		{wish{}, wish{0, true}, ""},
		{wish{}, wish{0, true}, "-5"},
		{wish{}, wish{0, true}, "99999999999999999999"},
		{wish{}, wish{paceLeast, true}, "1"},
	} {
		r, err := http.NewRequestWithContext(testContext(t), "GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if AskShape(r.Header, x.ask.rate, x.ask.nice); x.raw != "" {
			r.Header.Set(PaceHeader, x.raw)
		}
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if w := <-got; w != x.want {
			t.Errorf("%+v: %+v", x.ask, w)
		}
	}
	if runtime.GOOS == "linux" {
		if err := SetLowEffort(c.m); err != nil {
			t.Error(err)
		}
	}
	Shape(&http.Request{}) // of no connection
}

// TestControlIsKnown: the listener says what its connections send by.
func TestControlIsKnown(t *testing.T) {
	l, err := Listen(testContext(t), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	control := ListenerControl(l)
	if runtime.GOOS == "linux" && control == "" {
		t.Error("not known")
	}
	if Slow("") || Slow("bbr") || !Slow("cubic") || !Slow("reno") {
		t.Error("slow is what lost packets slow down")
	}
	if ListenerControl(nil) != "" {
		t.Error("of no listener")
	}
	// A better one that came later is taken up by new connections.
	old := listener{l.(listener).Listener, "cubic"}
	go func() {
		c, err := (&Dialer{}).dialTCP(testContext(t), target{place: placeOf(l)})
		if err == nil {
			c.Close()
		}
	}()
	c, err := old.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := CongestionControl(c); got != control {
		t.Errorf("%q, and the listener has %q", got, control)
	}
}
