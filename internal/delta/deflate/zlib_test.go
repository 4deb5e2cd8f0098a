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
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
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

// goroot returns where Go is installed; "" if that is not known.
func goroot(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// realFiles returns files of the machine, some text, some binary.
func realFiles(t testing.TB) (all [][]byte) {
	t.Helper()
	var names []string
	for _, glob := range []string{"*.go", filepath.Join(goroot(t), "src/*/*.go"), filepath.Join(goroot(t), "bin/*"), "/usr/share/java/*.jar", "/usr/lib/*/*.so*"} {
		found, _ := filepath.Glob(glob)
		names = append(names, found[:min(len(found), 3)]...)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			all = append(all, b[:min(len(b), 400_000)])
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
		for k, p := range allParams() {
			if n < 1000 || k%4 == i%4 || p.Level == 6 && p.Strategy == Default {
				check(t, ref, p, data, fmt.Sprint("mixture ", i))
			}
		}
	}
	for i := range 40 {
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

// golden are BLAKE3 digests of what the C zlib 1.2.13 makes of goldenInput.
var golden = map[Params]string{
	{Level: 1, MemLevel: 8, Strategy: 0}: "9ce862b83ac843c9",
	{Level: 1, MemLevel: 9, Strategy: 0}: "8d7f464aaccde492",
	{Level: 2, MemLevel: 8, Strategy: 0}: "b85e002874243998",
	{Level: 2, MemLevel: 9, Strategy: 0}: "fac0db17343d8da9",
	{Level: 3, MemLevel: 8, Strategy: 0}: "ea0a6eeffadf3459",
	{Level: 3, MemLevel: 9, Strategy: 0}: "1af98892467eab52",
	{Level: 4, MemLevel: 8, Strategy: 0}: "666275b38ab13200",
	{Level: 4, MemLevel: 9, Strategy: 0}: "b15394f368e2090f",
	{Level: 5, MemLevel: 8, Strategy: 0}: "1580f1e1e26dc73a",
	{Level: 5, MemLevel: 9, Strategy: 0}: "f6face7f73c6eddb",
	{Level: 6, MemLevel: 8, Strategy: 0}: "c4729b89387f9879",
	{Level: 6, MemLevel: 8, Strategy: 1}: "246e9c851c937d5e",
	{Level: 6, MemLevel: 8, Strategy: 2}: "2f6320cf7c40084b",
	{Level: 6, MemLevel: 8, Strategy: 3}: "9b1d0b77375a04ce",
	{Level: 6, MemLevel: 8, Strategy: 4}: "1bb6ecbee7c5a539",
	{Level: 6, MemLevel: 9, Strategy: 0}: "5248e35eee46206d",
	{Level: 6, MemLevel: 9, Strategy: 1}: "b8d7d3ca7741b7a5",
	{Level: 6, MemLevel: 9, Strategy: 2}: "85aa2c9f9859cc73",
	{Level: 6, MemLevel: 9, Strategy: 3}: "07a8f1b0d5e04004",
	{Level: 6, MemLevel: 9, Strategy: 4}: "10c92fb2f016f2e9",
	{Level: 7, MemLevel: 8, Strategy: 0}: "cce7a32692af1f9c",
	{Level: 7, MemLevel: 9, Strategy: 0}: "091618f329f80099",
	{Level: 8, MemLevel: 8, Strategy: 0}: "a2078f3f3d3188a6",
	{Level: 8, MemLevel: 9, Strategy: 0}: "b190872122350a2a",
	{Level: 9, MemLevel: 8, Strategy: 0}: "f9ee969fd700eaab",
	{Level: 9, MemLevel: 9, Strategy: 0}: "3e0f43f32372a5f0",
}

// goldenInput is a text of words in an order that arithmetic gives, with noise.
func goldenInput() []byte {
	var b []byte
	for x := uint32(1); len(b) < 150_000; {
		x = x*1664525 + 1013904223
		if x>>28 == 0 {
			b = append(b, byte(x>>8), byte(x>>16), byte(x>>24))
		}
		b = append(b, "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu"[x>>20%56:][:3+x>>13%9]...)
	}
	return b
}

// TestGolden needs no zlib.
func TestGolden(t *testing.T) {
	for p, want := range golden {
		if got := digest.Sum(deflated(t, p, goldenInput())).String()[:16]; got != want {
			t.Errorf("%v: %s, zlib %s", p, got, want)
		}
	}
}
