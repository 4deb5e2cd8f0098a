package wire

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"

	"github.com/ropeway/ropeway/internal/digest"
	"github.com/ropeway/ropeway/internal/manifest"
)

// SpanRef names a span of a file at the sender: the file within its module,
// the place in it, and the tag of the state in which the plan saw it.
type SpanRef struct {
	Path   string
	Offset int64
	Tag    uint64
	Tagged bool // Tag counts; who asks a mirror has none
}

// Query returns the reference as the query of an object request.
func (s SpanRef) Query() string {
	q := "p=" + base64.RawURLEncoding.EncodeToString([]byte(s.Path)) + "&o=" + strconv.FormatInt(s.Offset, 10)
	if s.Tagged {
		q += "&t=" + strconv.FormatUint(s.Tag, 16)
	}
	return q
}

// ParseSpanRef reads what Query wrote and checks it.
func ParseSpanRef(q url.Values) (SpanRef, error) {
	p, err := base64.RawURLEncoding.DecodeString(q.Get("p"))
	if err != nil {
		return SpanRef{}, fmt.Errorf("wire: span's path: %w", err)
	}
	s := SpanRef{Path: string(p)}
	if s.Offset, err = strconv.ParseInt(q.Get("o"), 10, 64); err != nil {
		return SpanRef{}, fmt.Errorf("wire: span's offset: %w", err)
	}
	s.Tagged = q.Has("t")
	if !s.Tagged {
		s.Tag = 0
	} else if s.Tag, err = strconv.ParseUint(q.Get("t"), 16, 64); err != nil {
		return SpanRef{}, fmt.Errorf("wire: span's tag: %w", err)
	}
	if s.Path == "" || s.Offset < 0 || s.Offset%digest.SpanSize != 0 {
		return SpanRef{}, fmt.Errorf("wire: impossible span")
	}
	return s, manifest.CheckPath(s.Path)
}
