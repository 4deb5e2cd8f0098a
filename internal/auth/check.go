package auth

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// The reasons of a Denied fault from Check, for the choice of HTTP status.
var (
	ErrNoToken   = errors.New("no token")                       // 401
	ErrBadToken  = errors.New("unknown or expired token")       // 401
	ErrForbidden = errors.New("the token does not permit this") // 403
	ErrThrottled = errors.New("too many failed attempts")       // 429
)

// Check returns nil when the request's token permits the verb on the module,
// and otherwise a Denied fault that wraps one of the reasons above. A valid
// token passes whatever others did from the same address. When the file of
// tokens cannot be read, nobody passes and the class is Other.
func (t *Tokens) Check(r *http.Request, module string, verb Verb) error {
	g, err := t.Grant(r)
	if err != nil {
		return err
	}
	if !g.Allows(module, verb, time.Now()) {
		return denied(ErrForbidden, "ask for a token with "+verb.String()+" for this module")
	}
	return nil
}

// Grant returns what the request's token permits; errors are those of Check.
// The caller must not change its Modules.
func (t *Tokens) Grant(r *http.Request) (Grant, error) {
	token := TokenOf(r)
	if token == "" {
		return Grant{}, denied(ErrNoToken, "put it into the URL, https://x:TOKEN@host/…, or set ROPEWAY_TOKEN")
	}
	gs, err := t.current()
	if err != nil {
		return Grant{}, fault.Wrap(fault.Other, err, "", "tokens cannot be checked")
	}
	now := time.Now()
	if g := find(gs, token); g != nil && !g.expired(now) {
		return *g, nil
	}
	if !t.fail.fail(r.RemoteAddr, now) {
		return Grant{}, denied(ErrThrottled, "wait a minute, and check the token")
	}
	return Grant{}, denied(ErrBadToken, "ask the server's owner for a new one")
}

func denied(reason error, hint string) error {
	return fault.Wrap(fault.Denied, reason, hint, "access denied")
}

// TokenOf returns the token of a request: "Authorization: Bearer TOKEN", or
// the password of Basic, or its user name when that is a token and there is no
// password. It returns "" for none.
func TokenOf(r *http.Request) string {
	h := r.Header.Get("Authorization")
	if len(h) > 2*maxToken {
		return ""
	}
	if scheme, rest, ok := strings.Cut(h, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest)
	}
	user, pass, _ := r.BasicAuth()
	if pass == "" && strings.HasPrefix(user, tokenPrefix) {
		return user
	}
	return pass
}
