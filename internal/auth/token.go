package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// Verb is what a token may do with a module; verbs are combined by |.
type Verb uint8

// The verbs.
const (
	Read Verb = 1 << iota
	Write
)

var verbWords = []struct {
	v Verb
	w string
}{{Read, "read"}, {Write, "write"}}

// String returns the words of v joined by commas.
func (v Verb) String() string {
	var w []string
	for _, x := range verbWords {
		if v&x.v != 0 {
			w = append(w, x.w)
		}
	}
	return strings.Join(w, ",")
}

// ParseVerbs reads what String writes; it returns a Usage fault.
func ParseVerbs(s string) (Verb, error) {
	var v Verb
next:
	for _, w := range strings.Split(s, ",") {
		for _, x := range verbWords {
			if x.w == strings.TrimSpace(w) {
				v |= x.v
				continue next
			}
		}
		return 0, fault.New(fault.Usage, "use read, write or read,write", "%q is no verb", clip(w, 40))
	}
	return v, nil
}

// AllModules in Grant.Modules stands for every module, also later ones.
const AllModules = "*"

// Grant is what a token permits. The token itself is stored nowhere.
type Grant struct {
	ID      string    // 8 characters, to list and revoke it by
	Name    string    // whom it was made for; free text
	Hash    string    // SHA-256 of the token in hex
	Verbs   Verb      // at least one
	Modules []string  // names, or AllModules; none permits nothing
	Created time.Time //
	Expires time.Time // zero for never
}

// Allows reports whether the grant permits the verb on the module at now.
func (g *Grant) Allows(module string, verb Verb, now time.Time) bool {
	return verb != 0 && g.Verbs&verb == verb && !g.expired(now) &&
		(slices.Contains(g.Modules, module) || slices.Contains(g.Modules, AllModules))
}

func (g *Grant) expired(now time.Time) bool { return !g.Expires.IsZero() && !now.Before(g.Expires) }

const tokenPrefix = "rw_"

// maxToken bounds what is taken from a request or a file; other programs may
// have made the token, so its form is not checked.
const maxToken = 256

// newToken returns 160 random bits as text.
func newToken() string {
	var b [20]byte
	rand.Read(b[:]) // never fails
	return tokenPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// hash is plain SHA-256: 160 random bits need no slow one.
func hash(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// find returns the grant of the token or nil. Its time does not depend on
// where a grant is or how much of its hash agrees.
func find(grants []Grant, token string) *Grant {
	h := []byte(hash(token))
	var found *Grant
	for i := range grants {
		if subtle.ConstantTimeCompare(h, []byte(grants[i].Hash)) == 1 {
			found = &grants[i]
		}
	}
	return found
}
