package lab

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/link"
)

func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"a\nb\n":                       "a|b|",
		"a":                            "a|",
		"\n\n":                         "||",
		"1%\r2%\r\n3\r\n":              "1%|2%|3|",
		"\r\r\nx":                      "x|",
		"a\r\n\nb\n":                   "a||b|",
		strings.Repeat("x", maxLine+1): strings.Repeat("x", maxLine) + "|x|",
	} {
		for _, step := range []int{1, 3, len(in) + 1} {
			var got strings.Builder
			l := newLines("a", "stdout", func(_, _ string, line []byte) { fmt.Fprintf(&got, "%s|", line) })
			for rest := in; rest != ""; {
				n := min(step, len(rest))
				if m, err := l.Write([]byte(rest[:n])); m != n || err != nil {
					t.Fatal(m, err)
				}
				rest = rest[n:]
			}
			l.end()
			if got.String() != want {
				t.Errorf("%.20q by %d: %.40q, want %.40q", in, step, got.String(), want)
			}
		}
	}
}

// TestAdd wants every counter to be added, those to come as well.
func TestAdd(t *testing.T) {
	var sum, c link.Counters
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Struct {
				fill(f)
			} else {
				f.SetInt(2)
			}
		}
	}
	fill(reflect.ValueOf(&c).Elem())
	add(&sum, c)
	add(&sum, c)
	fill(reflect.ValueOf(&c).Elem())
	text := strings.ReplaceAll(fmt.Sprintf("%+v", sum), "MaxQueueBytes:2", "MaxQueueBytes:4")
	if strings.Contains(text, ":2") || strings.Contains(text, ":0") {
		t.Errorf("%+v", sum)
	}
}

func TestCapture(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.pcap")
	c, err := newCapture(name, func(s string) { t.Error(s) })
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1234567890, 123456789)
	for i := range 1000 {
		c.packet(at, make([]byte, i))
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	c.packet(at, []byte("late"))
	b, err := os.ReadFile(name)
	if err != nil || len(b) != 24+1000*16+999*1000/2 {
		t.Fatal(len(b), err)
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	if word(0) != 0xa1b23c4d || word(20) != 101 || word(24) != 1234567890 || word(28) != 123456789 || word(32) != 0 || word(24+16+8) != 1 {
		t.Errorf("% x", b[:64])
	}
}

// TestFullDisk wants a full disk to end the capture with a line, once.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
	said := make(chan string, 10)
	c, err := newCapture("/dev/full", func(s string) { said <- s })
	if err != nil {
		t.Fatal(err)
	}
	if s := <-said; !strings.Contains(s, "no space left") {
		t.Error(s)
	}
	c.packet(time.Now(), make([]byte, 100))
	if err := c.close(); err != nil {
		t.Error(err)
	}
	if c.lost() != 1 || len(said) != 0 {
		t.Errorf("%d lost, %d more lines", c.lost(), len(said))
	}
}
