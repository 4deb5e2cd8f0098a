package lab

import "testing"

func FuzzDestination(f *testing.F) {
	f.Add([]byte{0x45, 15: 0, 16: 10, 17: 73, 18: 0, 19: 2})
	f.Add([]byte{0x60, 24: 0xfd, 25: 0x73, 39: 3})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		i := destination(pkt)
		if i < -1 || i > 254 {
			t.Errorf("host %d", i)
		}
		if i >= 0 && len(pkt) < 20 {
			t.Errorf("host %d from %d bytes", i, len(pkt))
		}
	})
}
