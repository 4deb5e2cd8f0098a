package demo

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"

	"github.com/ropeway/ropeway/internal/delta/deflate"
)

const (
	minJar = 16 << 10 // bytes; less has no room for an entry
	maxJar = 1 << 30

	localHead   = 30 // bytes of an entry's fixed part, before its content
	centralHead = 46 // and in the directory at the end
	endRecord   = 22
	fillerName  = "META-INF/filler.bin"

	// Libraries take this share of the archive; classes the rest.
	libShare = .6
)

// jar describes a zip archive like the ones that Java services are shipped as:
// libraries that are stored, classes that are deflated.
type jar struct {
	size    int64 // of the archive, exactly
	seed    uint64
	version int // 1 or 2
}

// write writes the archive. The same jar is always the same bytes.
//
// Version 2 is a rebuilt version 1, as a build server makes one every day: the
// libraries are the same, every twentieth of the classes, which come after them,
// was edited, what follows it is shifted, and every entry has a new time.
func (j jar) write(w io.Writer) error {
	if j.size < minJar || j.size > maxJar {
		return fmt.Errorf("a jar of %d bytes", j.size)
	}
	b := jarBuilder{jar: j, zip: zip.NewWriter(w), used: endRecord + entryCost(fillerName)}
	b.entry("META-INF/MANIFEST.MF", fmt.Appendf(nil, "Manifest-Version: 1.0\r\nImplementation-Version: %d.0.0\r\n\r\n", j.version), zip.Store)
	b.libs()
	b.classes()
	filler := make([]byte, j.size-b.used)
	stream(j.seed, "filler", 0).fill(filler)
	b.used -= entryCost(fillerName)
	b.entry(fillerName, filler, zip.Store)
	if b.err == nil {
		b.err = b.zip.Close()
	}
	return b.err
}

type jarBuilder struct {
	jar
	zip    *zip.Writer
	used   int64 // bytes of the archive so far, its end and the filler's headers included
	packed bytes.Buffer
	full   bool
	err    error
}

func entryCost(name string) int64 { return localHead + centralHead + 2*int64(len(name)) }

func (b *jarBuilder) libs() {
	most := max(b.size/24, 2<<10)
	for i := 0; b.ok() && float64(b.used) < libShare*float64(b.size); i++ {
		r := stream(b.seed, "lib", i)
		data := make([]byte, most/2+r.Int64N(most/2))
		r.fill(data)
		b.entry(fmt.Sprintf("BOOT-INF/lib/%s-%d.%d.%d.jar", word(r), 1+r.IntN(5), r.IntN(20), r.IntN(9)), data, zip.Store)
	}
}

func (b *jarBuilder) classes() {
	typical := max(b.size/2000, 4<<10)
	var text []byte
	for i := 0; b.ok(); i++ {
		r := stream(b.seed, "class", i)
		name := fmt.Sprintf("com/example/%s/%s%d.class", word(r), word(r), i)
		n := typical/2 + r.Int64N(typical)
		text = prose(r, text[:0], int(n))
		if b.version > 1 && i%20 == 7 {
			at := len(text) / 2
			text = append(prose(r, text[:at:at], 200), text[at:]...)
		}
		b.entry(name, text, zip.Deflate)
	}
}

func (b *jarBuilder) ok() bool { return b.err == nil && !b.full }

// entry adds an entry if there is room for it.
func (b *jarBuilder) entry(name string, data []byte, method uint16) {
	if b.err != nil {
		return
	}
	h := &zip.FileHeader{
		Name: name, Method: method, CRC32: crc32.ChecksumIEEE(data), UncompressedSize64: uint64(len(data)),
	}
	// CreateRaw writes these two as they are, and does not look at Modified.
	h.ModifiedDate, h.ModifiedTime = 0x5d61, uint16(0x6000+0x100*b.version) //nolint:staticcheck // see above
	if method == zip.Deflate {
		if b.err = b.pack(data); b.err != nil {
			return
		}
		data = b.packed.Bytes()
	}
	h.CompressedSize64 = uint64(len(data))
	cost := entryCost(name) + int64(len(data))
	if b.used+cost > b.size {
		b.full = true
		return
	}
	b.used += cost
	var w io.Writer
	if w, b.err = b.zip.CreateRaw(h); b.err == nil {
		_, b.err = w.Write(data)
	}
}

// pack deflates data as zlib, and so Java, does.
func (b *jarBuilder) pack(data []byte) error {
	b.packed.Reset()
	w, err := deflate.NewEncoder(&b.packed, deflate.Params{Level: 6, MemLevel: 8})
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

// source is a stream of chance that is the same on every machine.
type source struct {
	*rand.Rand
	c *rand.ChaCha8
}

func (s source) fill(b []byte) { _, _ = s.c.Read(b) }

// stream returns the i-th stream for a use; streams do not depend on each other.
func stream(seed uint64, use string, i int) source {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint64(key[8:], uint64(i))
	copy(key[16:], use)
	c := rand.NewChaCha8(key)
	return source{rand.New(c), c}
}

var words = []string{
	"account", "batch", "buffer", "cache", "channel", "codec", "commit", "config", "context", "cursor", "digest", "entry",
	"event", "filter", "handler", "index", "invoice", "journal", "ledger", "listener", "manifest", "message", "metric",
	"order", "packet", "parser", "payment", "queue", "record", "registry", "report", "request", "response", "result",
	"schema", "segment", "service", "session", "socket", "status", "storage", "stream", "symbol", "table", "ticket",
	"token", "tracker", "transfer", "value", "vector", "window", "worker", "writer",
}

func word(r source) string { return words[r.IntN(len(words))] }

// prose appends about n bytes of text that compresses like code does.
func prose(r source, b []byte, n int) []byte {
	for end := len(b) + n; len(b) < end; {
		v := r.Uint64()
		a, c := words[v%uint64(len(words))], words[v>>8%uint64(len(words))]
		switch v >> 60 {
		case 0, 1, 2, 3:
			b = fmt.Appendf(b, "\tif %s.%s(%d) != nil {\n\t\treturn %s\n\t}\n", a, c, v>>16&0xffff, c)
		case 4, 5, 6, 7, 8:
			b = fmt.Appendf(b, "\t%s := new(%s, %q)\n", a, c, words[v>>20%uint64(len(words))])
		case 9, 10, 11:
			b = fmt.Appendf(b, "\t// The %s of a %s is %x.\n", a, c, v>>16&0xffffffff)
		default:
			b = fmt.Appendf(b, "\t%s.%s = %s[%d]\n", a, c, words[v>>20%uint64(len(words))], v>>32&0xff)
		}
	}
	return b
}
