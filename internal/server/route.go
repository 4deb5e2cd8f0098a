package server

import (
	"net/url"
	"strings"

	"github.com/ropeway/ropeway/internal/auth"
	"github.com/ropeway/ropeway/internal/config"
)

// The routes; their names are in logs and metrics.
const (
	routePage    = "page"
	routeHealth  = "health"
	routeReady   = "ready"
	routeMetrics = "metrics"
	routeFile    = "file"
	routePlan    = "plan"
	routeUpload  = "upload"
	routeObject  = "object"
	routeDelta   = "delta"
	routePush    = "push"
	routeLedger  = "ledger"
	routeReverse = "reverse"
	routeOther   = "other" // nothing is there
)

// route is where a request goes.
type route struct {
	name   string
	module string // valid, but it need not exist; "" where a route has none
	native bool   // the native protocol: answers are for programs
}

// verb returns what a token must permit.
func (r route) verb() auth.Verb {
	if r.name == routePush || r.name == routeReverse {
		return auth.Write
	}
	return auth.Read
}

// routeOf finds the route of a URL. Of the native protocol, whose names need
// no escapes, escaped ones do not exist.
func routeOf(u *url.URL) route {
	path := u.EscapedPath()
	switch path {
	case "/":
		return route{name: routePage}
	case "/healthz":
		return route{name: routeHealth}
	case "/readyz":
		return route{name: routeReady}
	case "/metrics":
		return route{name: routeMetrics}
	}
	if rest, ok := strings.CutPrefix(path, "/m/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		name, err := url.PathUnescape(name)
		if err != nil || !config.ValidName(name) {
			return route{name: routeOther}
		}
		return route{name: routeFile, module: name}
	}
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return route{name: routeOther}
	}
	other := route{name: routeOther, native: true}
	if rest, ok = strings.CutPrefix(rest, "m/"); !ok {
		return other
	}
	module, rest, _ := strings.Cut(rest, "/")
	if !config.ValidName(module) {
		return other
	}
	verb, _, _ := strings.Cut(rest, "/")
	name, ok := map[string]string{"plan": routePlan, "up": routeUpload, "o": routeObject, "delta": routeDelta, "push": routePush, "ledger": routeLedger, "lane": routeReverse}[verb]
	if !ok {
		name = routeOther
	}
	return route{name: name, module: module, native: true}
}
