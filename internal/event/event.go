// Package event is the one typed stream that every long job emits. Terminal,
// JSON lines, web pages and metrics are subscribers; the engine never prints.
package event

import "time"

// Event is one of the types of this package.
type Event interface{ event() }

// Func receives events. It may be called from several goroutines at once and
// must return quickly; nil is not allowed, Discard is.
type Func func(Event)

// Discard drops every event.
func Discard(Event) {}

// Start is the first event of a job.
type Start struct {
	Verb        string // "sync", "push"
	Source      string // without secrets
	Destination string // without secrets
	DryRun      bool
}

// Work reports a stage that moves no payload: scanning, hashing, waiting for
// the other side to do so. Counters of one stage never fall.
type Work struct {
	Peer  bool   // the other side does it
	Stage string // "connect", "scan", "hash", "plan", "stage", "land"
	Files int64
	Bytes int64
	Total int64 // bytes to do; 0 when unknown
}

// Progress is a snapshot of a transfer, at most a few per second. Counters
// never fall.
type Progress struct {
	Done       int64 // verified bytes of new content, in bytes of the files
	Total      int64 // bytes of new content known to be needed so far
	Complete   bool  // Total is final
	Files      int64 // files done
	FilesTotal int64
	Reused     int64 // bytes taken from what the destination held
	WireIn     int64 // bytes received, TLS included
	WireOut    int64 // bytes sent, TLS included
	Lanes      int   // connections that are up
	Retries    int64 // requests given to another lane, and lanes dialled again

	Limit       Limit  // what keeps it from going faster at the moment; "" when not known
	LimitDetail string // the evidence, for people, such as "6.2% of the bytes are sent again"
}

// Limit names what keeps a transfer from going faster.
type Limit string

// The limits.
const (
	LimitLink     Limit = "link"     // the link is full
	LimitLoss     Limit = "loss"     // packets are lost, and the sender slows down for it
	LimitWindow   Limit = "window"   // the receive window or the send buffer of the connections
	LimitSender   Limit = "sender"   // the sender's disk or work
	LimitReceiver Limit = "receiver" // the receiver's disk or work
	LimitServer   Limit = "server"   // the server grants no more, or asked to be left alone
	LimitRate     Limit = "bwlimit"  // the rate that the user set
	LimitDown     Limit = "down"     // nothing gets through
)

// Link reports that the link went down or came back.
type Link struct {
	Up      bool
	Since   time.Time // when this state began
	GiveUp  time.Time // when the job ends if it lasts; zero for never
	Cause   string    // "connection reset by peer", "no answer", ...
	Resumed int64     // on Up: verified bytes that were kept
}

// Lane reports one connection that ended and why, or that was opened.
type Lane struct {
	ID    int
	Open  bool
	Cause string
}

// Item is one change that was made, or with a dry run would be.
type Item struct {
	Path   string
	Change string // rsync's eleven letters, such as ">f.st......" or "*deleting  "
	Dir    bool
	Target string // symlinks
	Size   int64
}

// Warn is something the user should know that does not end the job. Partial
// marks those that make it end with exit code 3.
type Warn struct {
	Path    string
	Text    string
	Partial bool
}

// Note is a line of narration, for people: what a demonstration does and finds.
type Note struct{ Text string }

// Summary ends a job that landed, wholly or in part.
type Summary struct {
	DryRun      bool
	Unchanged   bool // nothing was to do
	Files       int64
	Dirs        int64
	Symlinks    int64
	Bytes       int64 // total size of the tree's files
	Transferred int64 // files whose content crossed the link
	Created     int64
	Deleted     int64
	Literal     int64 // bytes of file content that crossed the link, before compression
	Reused      int64 // bytes of new content taken from what the destination held
	Moved       int64 // files made from content found under another path
	WireIn      int64 // bytes received, headers and TLS included
	WireOut     int64 // bytes sent, headers and TLS included
	Retries     int64
	LinkDown    time.Duration // time without a working link
	Limit       Limit         // what limited it most of the time; "" when not known
	LimitDetail string        // the evidence, for people
	SentTCP     int64         // bytes that the sender's TCP put on the wire, as it reports them; 0 when it does not
	ResentTCP   int64         // those of them that were sent before
	RTT         time.Duration // least round trip that either end saw; 0 when not known
	Congestion  string        // the sender's congestion control; "" when not known
	Via         string        // what ends TCP on the way, so that none of this is about all of it; "" for nothing
	Elapsed     time.Duration
	Tree        string // digest of the tree that the destination now is
	Skipped     int64  // entries left out: devices, sockets
	Failed      int64  // entries that could not be landed
}

// Exit is the last event, with the exit code that the process will return.
type Exit struct {
	Code      int
	Class     string // a word of the exit-code table
	Message   string // empty on success
	Retryable bool
}

func (Start) event()    {}
func (Work) event()     {}
func (Progress) event() {}
func (Link) event()     {}
func (Lane) event()     {}
func (Item) event()     {}
func (Warn) event()     {}
func (Note) event()     {}
func (Summary) event()  {}
func (Exit) event()     {}
