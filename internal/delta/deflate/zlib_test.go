package deflate

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// reference deflates with the C zlib, by a Python process.
type reference struct {
	in  io.WriteCloser
	out *bufio.Reader
}

const script = `
import sys, zlib, struct
i, o = sys.stdin.buffer, sys.stdout.buffer
while True:
    h = i.read(8)
    if len(h) < 8: break
    level, mem, strategy, _, n = struct.unpack('<BBBBI', h)
    c = zlib.compressobj(level, zlib.DEFLATED, -15, mem, strategy)
    d = c.compress(i.read(n)) + c.flush()
    o.write(struct.pack('<I', len(d)) + d)
    o.flush()
`

func zlib(t testing.TB) *reference {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import zlib").Run() != nil {
		t.Skip("the C zlib is asked through python3, which is not here")
	}
	cmd := exec.Command(python, "-c", script)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("python3: %v", err)
		}
	})
	return &reference{in, bufio.NewReader(out)}
}

func (r *reference) deflate(t testing.TB, p Params, data []byte) []byte {
	t.Helper()
	head := binary.LittleEndian.AppendUint32([]byte{p.Level, p.MemLevel, byte(p.Strategy), 0}, uint32(len(data)))
	if _, err := r.in.Write(append(head, data...)); err != nil {
		t.Fatal(err)
	}
	var n [4]byte
	if _, err := io.ReadFull(r.out, n[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.LittleEndian.Uint32(n[:]))
	if _, err := io.ReadFull(r.out, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func deflated(t testing.TB, p Params, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewEncoder(&b, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mixture makes n bytes with all kinds of runs, repeats and noise.
func mixture(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+70000)
	for len(b) < n {
		k := 1 + r.IntN(1<<r.IntN(14))
		switch r.IntN(6) {
		case 0: // noise
			for range k {
				b = append(b, byte(r.Uint32()))
			}
		case 1: // a small alphabet
			a := 2 + r.IntN(20)
			for range k {
				b = append(b, byte('a'+r.IntN(a)))
			}
		case 2: // a run
			b = append(b, bytes.Repeat([]byte{byte(r.Uint32())}, k)...)
		case 3, 4: // something from before
			if len(b) > 0 {
				d := 1 + r.IntN(min(len(b), 1<<r.IntN(17)))
				for range k {
					b = append(b, b[len(b)-d])
				}
			}
		default: // with changes
			if len(b) > 0 {
				d := 1 + r.IntN(min(len(b), 40000))
				for range k {
					c := b[len(b)-d]
					if r.IntN(12) == 0 {
						c++
					}
					b = append(b, c)
				}
			}
		}
	}
	return b[:n]
}

func allParams() (all []Params) {
	for level := uint8(1); level <= 9; level++ {
		for mem := uint8(8); mem <= 9; mem++ {
			for s := Default; s <= Fixed; s++ {
				all = append(all, Params{Level: level, MemLevel: mem, Strategy: s})
			}
		}
	}
	return all
}

// realFiles returns files of the machine, some text, some binary.
func realFiles(t testing.TB) (all [][]byte) {
	t.Helper()
	var names []string
	for _, glob := range []string{"*.go", filepath.Join(runtime.GOROOT(), "src/*/*.go"), filepath.Join(runtime.GOROOT(), "pkg/tool/*/*"), "/usr/share/java/*.jar", "/usr/lib/*/*.so*"} {
		found, _ := filepath.Glob(glob)
		names = append(names, found[:min(len(found), 12)]...)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			all = append(all, b[:min(len(b), 700_000)])
		}
	}
	return all
}

func check(t *testing.T, ref *reference, p Params, data []byte, what string) {
	t.Helper()
	want, got := ref.deflate(t, p, data), deflated(t, p, data)
	if !bytes.Equal(got, want) {
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		t.Fatalf("%v, %s of %d bytes: %d bytes, zlib %d; they differ at %d", p, what, len(data), len(got), len(want), n)
	}
}

func TestLikeZlibOnMixtures(t *testing.T) {
	ref := zlib(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i, n := range []int{0, 1, 2, 3, 4, 5, 10, 100, 258, 262, 1000, 5000, 16383, 16384, 32506, 32768, 65273, 65274, 65275, 65400, 65535, 65536, 65537, 66000, 98000, 131072, 200000} {
		data := mixture(r, n)
		for _, p := range allParams() {
			check(t, ref, p, data, fmt.Sprint("mixture ", i))
		}
	}
	for i := range 300 {
		data := mixture(r, r.IntN(1<<(5+r.IntN(14))))
		for range 12 {
			p := Params{Level: uint8(1 + r.IntN(9)), MemLevel: uint8(8 + r.IntN(2))}
			check(t, ref, p, data, fmt.Sprint("random mixture ", i))
		}
	}
}

func TestLikeZlibOnFiles(t *testing.T) {
	ref := zlib(t)
	for i, data := range realFiles(t) {
		for level := uint8(1); level <= 9; level++ {
			p := Params{Level: level, MemLevel: 8 + uint8(i)%2}
			check(t, ref, p, data, fmt.Sprint("file ", i))
		}
	}
}
