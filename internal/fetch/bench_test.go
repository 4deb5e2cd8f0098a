package fetch

import (
	"context"
	"testing"

	"github.com/ropeway/ropeway/internal/digest"
)

// BenchmarkPool measures what the pool itself costs: lanes answer at once.
func BenchmarkPool(b *testing.B) {
	data := make([]byte, digest.SpanSize)
	for i := range data {
		data[i] = byte(i >> 10)
	}
	o := digest.NewObject(data)
	n := newNetwork(0, 0)
	n.content.put(o.ID, data)
	p := New(Config{Lanes: 4}, Source{Dialer: n})
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan error)
	go func() { ran <- p.Run(ctx) }()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := p.Add(ctx, Task{Object: o, Write: func(int, []byte) error { return nil }}); err != nil {
			b.Fatal(err)
		}
	}
	_ = p.Idle(ctx)
	b.StopTimer()
	cancel()
	<-ran
}
