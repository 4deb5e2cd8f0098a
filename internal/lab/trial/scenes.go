package trial

import (
	"fmt"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/lab/report"
)

// scene is one way in which rsync fails.
type scene struct {
	key, title string
	push       bool
	flags      []string      // of rsync's client, beside -avP
	event      string        // of package link
	settings   []kernel      // of the hosts, for both takes
	bound      time.Duration // how long rsync is watched
	log        string        // what the daemon's log must say before it ends
	after      time.Duration // how long it is watched then
	rerun      bool          // the client is killed and run again, as a user would
	why        []string
	// failed reports whether a take shows what the title says.
	failed func(*Take) bool
}

// atThird is where events happen: a third of the file has come.
const atThird = "@20MB"

// scenes are those of the incident. Quick ones wait less and say so.
func scenes(quick bool) []scene {
	timeout, hang := 60, 90*time.Second
	if quick {
		timeout, hang = 15, 35*time.Second
	}
	limited := fmt.Sprintf("--timeout=%d", timeout)
	long := time.Duration(timeout) * time.Second
	retries := kernel{0, "net.ipv4.tcp_retries2", "5", "15, with which the same line comes after about 16 minutes"}
	hangs := func(t *Take) bool { return t.Outcome == report.Hang }
	return []scene{
		{
			key: "reset", title: "Connection reset by peer (104), then code 12", event: "reset:b" + atThird, bound: 30 * time.Second,
			why: []string{
				"A firewall, NAT or VPN gateway that gives up a connection may tell the client by a RST. rsync has one connection, no second attempt and no way to go on in a file: it ends.",
				"Because of -P the third that had come stays, under the final name, with a modification time of 1970; without -P all of it is deleted.",
			},
			failed: func(t *Take) bool { return t.Outcome == report.Failed },
		},
		{
			key: "hang", title: "hangs for ever", event: "forget" + atThird, bound: hang,
			why: []string{
				"The path lost its state and drops the packets without a word. The client has nothing to send, so no retransmission can fail; it asked for no keepalive, so nothing is probed; without --timeout rsync has no timer either. The socket stays ESTAB without any timer: nothing will ever wake these processes.",
			},
			failed: hangs,
		},
		{
			key: "code30", title: "io timeout (code 30)", push: true, flags: []string{limited}, event: "forget" + atThird, bound: long + 45*time.Second,
			why: []string{
				"The sender's timer counts what it sends and receives. Its send buffer is full, nothing more goes in or out, so after --timeout seconds it ends. It does not try again, although a new connection would have worked from the first second.",
			},
			failed: func(t *Take) bool { return t.Outcome == report.Failed && t.Exit == 30 },
		},
		{
			key: "log110", title: "the daemon logs \"Connection timed out (110)\", the client goes on hanging", event: "forget" + atThird,
			settings: []kernel{retries}, bound: 90 * time.Second, log: "(110)", after: 10 * time.Second,
			why: []string{
				"The daemon does have data in flight. Its kernel sends it again after .2, .4, .8 s and so on up to every 2 minutes, tcp_retries2 times, and then reports ETIMEDOUT, 110. Its RST to the client is lost like everything else: the client never learns of it.",
			},
			failed: hangs,
		},
		{
			key: "timeout", title: fmt.Sprintf("a pull with %s that does not end after %d s", limited, timeout), flags: []string{limited},
			event: "forget" + atThird, bound: long*2 + 15*time.Second,
			why: []string{
				fmt.Sprintf("On a pull only the client's generator judges the timeout (since 3.1.0), and it counts its own writes: every %d s it writes a keepalive of 4 bytes into the socket of the dead connection, and takes that for life. What ends it is the kernel, when those 4 bytes were retransmitted tcp_retries2 times: about 1000 s.", (timeout+1)/2),
				"The daemon's own timer ends the daemon at once; nothing of that reaches the client.",
			},
			failed: hangs,
		},
		{
			key: "stale", title: "a finished file is overwritten by an old partial", push: true, event: "forget" + atThird, rerun: true,
			settings: []kernel{
				{0, "net.ipv4.tcp_keepalive_time", "20", "7200: the damage is done after 2 h 11 min"},
				{0, "net.ipv4.tcp_keepalive_intvl", "5", "75"},
				{0, "net.ipv4.tcp_keepalive_probes", "3", "9"},
			},
			bound: 90 * time.Second,
			why: []string{
				"The daemon's end of the first, dead connection waits on. When keepalive ends it at last (or the daemon is stopped), it does what -P (--partial) asks of it: it renames what it had received over the final name, although a later run has put the whole file there.",
			},
			failed: func(t *Take) bool { return t.Outcome == report.Damaged },
		},
	}
}

// commandLine is a command as a person would type it.
func (s *stage) commandLine(h Host, argv []string, self string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		switch {
		case w == self:
			w = "ropeway"
		case s.url != "" && w == s.url && strings.Contains(w, "#pin="):
			w = "https://" + hostPort(s.a, ropewayPort) + "/m/m/…"
		}
		w = strings.ReplaceAll(w, s.dir+"/", "")
		w = strings.ReplaceAll(w, s.payload.dir, "src")
		if strings.ContainsAny(w, " $'\"") {
			w = "'" + w + "'"
		}
		words[i] = w
	}
	return "host " + h.Name() + "$ " + strings.Join(words, " ")
}
