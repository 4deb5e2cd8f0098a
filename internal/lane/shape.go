package lane

import (
	"net/http"
	"strconv"
)

// Headers by which the receiving side asks the sending one for a manner of
// sending on the connection of the request.
const (
	// PaceHeader bounds the rate, in bytes per second.
	PaceHeader = "Ropeway-Pace"
	// NiceHeader is "1" for what should be less urgent than anything else.
	NiceHeader = "Ropeway-Nice"

	paceLeast = 8 << 10 // bytes per second; less would look like a dead connection
)

// AskShape puts the wish into the headers of a request: at most rate bytes per
// second, 0 for no bound, and less urgent than anything else.
func AskShape(h http.Header, rate int64, nice bool) {
	if rate > 0 {
		h.Set(PaceHeader, strconv.FormatInt(max(rate, paceLeast), 10))
	}
	if nice {
		h.Set(NiceHeader, "1")
	}
}

// Shape does, as far as the system can, what the request wishes for its
// connection. A bound stands until a request has another one or none.
func Shape(r *http.Request) {
	c := ConnOf(r.Context())
	m := meterOf(c)
	if m == nil {
		return
	}
	rate := int64(0)
	if v := r.Header.Get(PaceHeader); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n > 0 {
			rate = max(n, paceLeast)
		}
	}
	if m.paced.Swap(rate) != rate {
		_ = SetPacing(c, uint64(rate))
	}
	if r.Header.Get(NiceHeader) == "1" && !m.nice.Swap(true) {
		_ = SetLowEffort(c)
	}
}
