package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
)

// Pin is the SHA-256 of a public key as certificates hold it
// (SubjectPublicKeyInfo). The zero value means no pin.
type Pin [sha256.Size]byte

const pinPrefix = "sha256//"

// PinOf returns the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// IsZero reports whether there is no pin.
func (p Pin) IsZero() bool { return p == Pin{} }

// String returns "sha256//" and base64, as curl's --pinnedpubkey takes it; ""
// for no pin.
func (p Pin) String() string {
	if p.IsZero() {
		return ""
	}
	return pinPrefix + base64.StdEncoding.EncodeToString(p[:])
}

// ParsePin reads what String writes, also after "#" or "pin=", with percent
// escapes, in the alphabet of URLs, and without the padding. It returns a
// Usage fault.
func ParsePin(s string) (Pin, error) {
	bad := fault.New(fault.Usage, "a pin is sha256// and 44 characters of base64", "%q is not a pin", clip(s, 80))
	if len(s) > 200 {
		return Pin{}, bad
	}
	text, err := url.PathUnescape(strings.TrimSpace(s))
	if err != nil {
		return Pin{}, bad
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "#"), "pin=")
	text, ok := strings.CutPrefix(text, pinPrefix)
	if !ok {
		return Pin{}, bad
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	if strings.ContainsAny(text, "\r\n") { // base64 would skip them
		return Pin{}, bad
	}
	var p Pin
	if base64.RawStdEncoding.DecodedLen(len(text)) != len(p) {
		return Pin{}, bad
	}
	if _, err := base64.RawStdEncoding.Strict().Decode(p[:], []byte(text)); err != nil || p.IsZero() {
		return Pin{}, bad
	}
	return p, nil
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
