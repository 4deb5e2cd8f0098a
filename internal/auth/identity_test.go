package auth

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ropeway/ropeway/internal/fault"
)

func TestIdentityStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var wg sync.WaitGroup
	ids := make([]*Identity, 8)
	for i := range ids {
		wg.Go(func() {
			id, err := LoadOrCreate(dir, "a.example", "192.0.2.1")
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, id := range ids {
		if id.Pin != ids[0].Pin || id.Certificate.Leaf.SerialNumber.Cmp(ids[0].Certificate.Leaf.SerialNumber) != 0 {
			t.Fatal("two identities")
		}
	}
	for _, h := range []string{"localhost", "ropeway", "127.0.0.1", "::1", "a.example", "192.0.2.1"} {
		if err := ids[0].Certificate.Leaf.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	if fi, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || checksModes && fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}

	more, err := LoadOrCreate(dir, "b.example")
	if err != nil || more.Pin != ids[0].Pin || more.Certificate.Leaf.VerifyHostname("b.example") != nil {
		t.Fatal("a further host:", err)
	}
	if err := os.WriteFile(filepath.Join(dir, certFile), []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := LoadOrCreate(dir); err != nil || again.Pin != ids[0].Pin {
		t.Fatal("a broken certificate:", err)
	}
}

func TestIdentityRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		old, err := LoadOrCreate(dir)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(validFor - renewAt/2)
		id, err := LoadOrCreate(dir)
		if err != nil || id.Pin != old.Pin || !id.Certificate.Leaf.NotAfter.After(old.Certificate.Leaf.NotAfter) {
			t.Fatal(err)
		}
	})
}

func TestIdentityRefusesBadKeys(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadOrCreate(dir); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, keyFile)
	if checksModes {
		os.Chmod(key, 0o644)
		if _, err := LoadOrCreate(dir); fault.ClassOf(err) != fault.Denied {
			t.Error(err)
		}
	}
	os.Remove(key)
	if err := os.WriteFile(key, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(dir); fault.ClassOf(err) != fault.Integrity {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	id, err := Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	other, err := Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	cs := tls.ConnectionState{PeerCertificates: []*x509.Certificate{id.Certificate.Leaf}}
	if err := VerifyPinned(id.Pin)(cs); err != nil {
		t.Error(err)
	}
	err = VerifyPinned(other.Pin)(cs)
	if fault.ClassOf(err) != fault.Integrity || !strings.Contains(err.Error(), id.Pin.String()) ||
		!strings.Contains(err.Error(), other.Pin.String()) || !strings.Contains(fault.HintOf(err), "in between") {
		t.Error(err)
	}
	if fault.ClassOf(VerifyPinned(Pin{})(cs)) != fault.Integrity || fault.ClassOf(VerifyPinned(id.Pin)(tls.ConnectionState{})) != fault.Integrity {
		t.Error("accepted without a pin or a key")
	}

	roots := x509.NewCertPool()
	err = VerifyRoots("localhost", roots)(cs)
	if fault.ClassOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "#pin="+id.Pin.String()) {
		t.Error(err, fault.HintOf(err))
	}
	roots.AddCert(id.Certificate.Leaf)
	if err := VerifyRoots("localhost", roots)(cs); err != nil {
		t.Error(err)
	}
	if err := VerifyRoots("elsewhere", roots)(cs); fault.ClassOf(err) != fault.Denied {
		t.Error("another name:", err)
	}
	if err := VerifyRoots("localhost", roots)(tls.ConnectionState{}); fault.ClassOf(err) != fault.Denied {
		t.Error("no certificate:", err)
	}
}
