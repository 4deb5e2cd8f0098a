package scan

import (
	"sync"
	"time"
)

const (
	meterEntries = 256
	meterPeriod  = 50 * time.Millisecond
)

// meter counts work and tells of it often enough to show that it proceeds. It
// is safe for concurrent use.
type meter struct {
	fn    func(files, bytes int64)
	mu    sync.Mutex
	files int64
	bytes int64
	told  int64 // files when fn was last called
	fresh bool  // something was added since
	when  time.Time
}

func newMeter(fn func(files, bytes int64)) *meter { return &meter{fn: fn, when: time.Now()} }

func (m *meter) add(files, bytes int64) {
	if m.fn == nil || files == 0 && bytes == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files += files
	m.bytes += bytes
	m.fresh = true
	if m.files-m.told >= meterEntries || time.Since(m.when) >= meterPeriod {
		m.tell()
	}
}

func (m *meter) tell() {
	m.told, m.when, m.fresh = m.files, time.Now(), false
	m.fn(m.files, m.bytes)
}

// flush tells what has not been told.
func (m *meter) flush() {
	if m.fn == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fresh {
		m.tell()
	}
}
