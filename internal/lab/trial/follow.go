package trial

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Line is one line of a transcript.
type Line struct {
	At   float64 `json:"at"`  // seconds since the client was started, to a tenth
	Who  string  `json:"who"` // "client", "server" or "lab"
	Text string  `json:"text"`
}

// follower notes when each line of several growing files came. Safe for
// concurrent use.
type follower struct {
	from time.Time
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	files []*followed
	lines []Line
	size  int // bytes of lines
}

type followed struct {
	who, name string
	at        int64  // read so far
	rest      string // of a line that has no end yet
}

// maxTranscript bounds what is kept, in bytes.
const maxTranscript = 256 << 10

// follow begins; files can be added later.
func follow() *follower {
	f := &follower{from: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				f.look()
			}
		}
	}()
	return f
}

// file adds a file, from a place in it on. It need not exist yet.
func (f *follower) file(who, name string, at int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.files {
		if x.name == name {
			return
		}
	}
	f.files = append(f.files, &followed{who: who, name: name, at: max(0, at)})
}

// note adds a line of our own, after what has come before it.
func (f *follower) note(text string) {
	f.look()
	f.mark(text)
}

// mark is note for what may be the cause of what comes at the same time.
func (f *follower) mark(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put("lab", text)
}

// restart makes the times count from now.
func (f *follower) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from = time.Now()
}

func (f *follower) put(who, text string) {
	if f.size += len(text); f.size > maxTranscript {
		return
	}
	at := float64(time.Since(f.from).Round(100*time.Millisecond).Milliseconds()) / 1000
	f.lines = append(f.lines, Line{At: max(0, at), Who: who, Text: clip(text)})
}

// look reads what is new.
func (f *follower) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.files {
		text := x.rest + readFrom(x.name, &x.at)
		x.rest = ""
		for text != "" {
			line, more, whole := strings.Cut(text, "\n")
			if !whole {
				x.rest = line[max(0, len(line)-4096):] // a status line may be long
				break
			}
			text = more
			f.write(x.who, line)
		}
	}
}

func (f *follower) write(who, line string) {
	line = strings.TrimRight(line, "\r ")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:] // a line drawn over others
	}
	if strings.TrimSpace(line) != "" {
		f.put(who, line)
	}
}

// close ends it and returns the transcript.
func (f *follower) close() []Line {
	close(f.stop)
	<-f.done
	f.look()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.files {
		if !strings.Contains(x.rest, "\r") { // a status line that was never finished says little
			f.write(x.who, x.rest)
		}
		x.rest = ""
	}
	return f.lines
}

// readFrom reads what was appended to a file, at most 64 KiB at once.
func readFrom(name string, at *int64) string {
	file, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	b := make([]byte, maxText)
	n, err := file.ReadAt(b, *at)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	*at += int64(n)
	return string(b[:n])
}
