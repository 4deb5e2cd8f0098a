package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// VerifyPinned returns a function for tls.Config.VerifyConnection that accepts
// a peer whose key has the pin, whatever names and dates its certificate
// shows. Another key is an Integrity fault. Unlike VerifyPeerCertificate it
// also runs when a session is resumed. Use it with InsecureSkipVerify.
func VerifyPinned(pin Pin) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if pin.IsZero() || len(cs.PeerCertificates) == 0 {
			return fault.New(fault.Integrity, "", "the server showed no key to compare with the pin")
		}
		if got := PinOf(cs.PeerCertificates[0]); got != pin {
			return fault.New(fault.Integrity,
				"the server's key changed, or someone is in between; ask its owner for the pin before you go on",
				"WRONG SERVER KEY: expected %s, got %s", pin, got)
		}
		return nil
	}
}

// VerifyRoots returns a function for tls.Config.VerifyConnection that accepts
// a peer whose certificate is valid now for host and was issued by one of the
// roots; nil stands for those of the system. The fault of a peer that nobody
// vouches for is Denied, and its hint is the pin to add to the URL. Use it
// with InsecureSkipVerify.
func VerifyRoots(host string, roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return fault.New(fault.Denied, "", "the server showed no certificate")
		}
		opts := x509.VerifyOptions{
			Roots: roots, DNSName: host, CurrentTime: time.Now(), Intermediates: x509.NewCertPool(),
		}
		for _, c := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		_, err := cs.PeerCertificates[0].Verify(opts)
		if err == nil {
			return nil
		}
		text := "the server's certificate is not valid"
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			text = "nobody vouches for the server's key"
		}
		return fault.Wrap(fault.Denied, err,
			"if its owner gave you this pin, add it to the URL: #pin="+PinOf(cs.PeerCertificates[0]).String(), "%s", text)
	}
}
