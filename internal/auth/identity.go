package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

// Identity is the key by which a server is known and a certificate for it. It
// does not change and may be used by several goroutines.
type Identity struct {
	Certificate tls.Certificate
	Pin         Pin
}

const (
	keyFile  = "server.key"
	certFile = "server.crt"
	validFor = 3653 * 24 * time.Hour
	renewAt  = 30 * 24 * time.Hour // before the end
)

// LoadOrCreate returns the identity kept in dir, and makes one when there is
// none; of two processes that do so at once the second takes the first one's.
// hosts are names and IP addresses for the certificate besides localhost,
// ropeway and the loopback addresses. The certificate is made anew, with the
// same key and hence the same pin, when it expires within a month or lacks a
// host. A key file that others can read is a Denied fault.
func LoadOrCreate(dir string, hosts ...string) (*Identity, error) {
	var id *Identity
	err := withLock(dir, func() error {
		key, err := loadKey(filepath.Join(dir, keyFile))
		if err != nil {
			return err
		}
		path := filepath.Join(dir, certFile)
		if cert := loadCert(path, key, hosts); cert != nil {
			id = identity(key, cert)
			return nil
		}
		cert, err := newCert(key, hosts)
		if err != nil {
			return err
		}
		id = identity(key, cert)
		return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o644)
	})
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return nil, err
		}
		return nil, fault.Wrap(fault.Other, err, "", "the server's key")
	}
	return id, nil
}

// Ephemeral returns a new identity that is kept nowhere.
func Ephemeral(hosts ...string) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := newCert(key, hosts)
	if err != nil {
		return nil, err
	}
	return identity(key, cert), nil
}

func identity(key *ecdsa.PrivateKey, cert *x509.Certificate) *Identity {
	return &Identity{
		Certificate: tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert},
		Pin:         PinOf(cert),
	}
}

func loadKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := readFile(path, 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(path)
	}
	if err != nil {
		return nil, err
	}
	if fi, err := os.Stat(path); err != nil {
		return nil, err
	} else if checksModes && fi.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Denied, "chmod 600 "+path+", or remove it for a new key and pin",
			"others can read the server's key %s", path)
	}
	bad := fault.New(fault.Integrity, "remove it for a new key and pin, or restore it", "%s is no P-256 key", path)
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, bad
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, bad // the cause could quote the key
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, bad
	}
	return key, nil
}

func createKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// loadCert returns nil when a new certificate is due.
func loadCert(path string, key *ecdsa.PrivateKey, hosts []string) *x509.Certificate {
	data, err := readFile(path, 64<<10)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !key.PublicKey.Equal(c.PublicKey) {
		return nil
	}
	if now := time.Now(); now.Before(c.NotBefore) || now.After(c.NotAfter.Add(-renewAt)) {
		return nil
	}
	for _, h := range hosts {
		if c.VerifyHostname(h) != nil {
			return nil
		}
	}
	return c
}

func newCert(key *ecdsa.PrivateKey, hosts []string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "ropeway"},
		NotBefore:    now.Add(-24 * time.Hour), // clocks differ
		NotAfter:     now.Add(validFor),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost", "ropeway"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},

		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "check the advertised hosts", "no certificate")
	}
	return x509.ParseCertificate(der)
}
