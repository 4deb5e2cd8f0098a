package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/ropeway/ropeway/internal/event"
)

// summaryText is the end of a job in words: rsync's two lines and one of ours,
// after all counters if they were asked for.
func summaryText(s event.Summary, o showOptions) string {
	num := commas
	unit := " bytes"
	if o.human {
		num, unit = human, ""
	}
	var b strings.Builder
	if o.stats {
		writeStats(&b, s, num, unit)
	}
	dry := ""
	if s.DryRun {
		dry = " (DRY RUN)"
	}
	wire := s.WireIn + s.WireOut
	perSecond := "0"
	if sec := s.Elapsed.Seconds(); sec > 0 {
		perSecond = num(int64(float64(wire) / sec))
	}
	perSecond += unit
	if unit != "" {
		perSecond += "/sec"
	} else {
		perSecond += "/s"
	}
	fmt.Fprintf(&b, "sent %s%s  received %s%s  %s\n", num(s.WireOut), unit, num(s.WireIn), unit, perSecond)
	fmt.Fprintf(&b, "total size is %s  speedup is %s%s\n", num(s.Bytes), speedup(s.Bytes, wire), dry)
	b.WriteString(deeds(s, num, unit) + "\n")
	return b.String()
}

// speedup is the size of the tree over what crossed the link, as rsync has it.
func speedup(size, wire int64) string {
	if wire <= 0 {
		return "0.00"
	}
	v := float64(size) / float64(wire)
	if v >= 1000 {
		return commas(int64(v))
	}
	return fmt.Sprintf("%.2f", v)
}

// deeds says what was done and what stood in the way.
func deeds(s event.Summary, num func(int64) string, unit string) string {
	var parts []string
	add := func(n int64, format string, args ...any) {
		if n != 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	if s.Unchanged {
		parts = append(parts, "nothing to do: "+plural(s.Files, "file is", "files are")+" up to date")
	} else {
		parts = append(parts, plural(s.Transferred, "file", "files")+" transferred")
		add(s.Created, "%s created", commas(s.Created))
		add(s.Deleted, "%s deleted", commas(s.Deleted))
	}
	add(s.Reused, "%s%s reused", num(s.Reused), unit)
	add(s.Moved, "%s made from moved content", plural(s.Moved, "file", "files"))
	add(s.Skipped, "%s skipped", commas(s.Skipped))
	add(s.Failed, "%s failed", commas(s.Failed))
	add(s.Retries, "%s", plural(s.Retries, "retry", "retries"))
	add(int64(s.LinkDown), "%s without link", span(s.LinkDown))
	if words, ok := limits[s.Limit]; ok && s.Elapsed >= limitWorth {
		parts = append(parts, "mostly limited by "+words)
	}
	return strings.Join(parts, ", ") + ", took " + span(s.Elapsed)
}

// limitWorth is how long a job must take for its limit to be of interest.
const limitWorth = 5 * time.Second

// writePath writes the lines of --stats about the link, as far as the sender
// reported on it.
func writePath(s event.Summary, num func(int64) string, unit string, line func(name, value string)) {
	if words, ok := limits[s.Limit]; ok {
		if s.LimitDetail != "" {
			words += " (" + printable(s.LimitDetail) + ")"
		}
		line("Mostly limited by", words)
	}
	if s.SentTCP > 0 {
		line("Sent by the sender's TCP", fmt.Sprintf("%s%s, %s%s again (%.1f%%)", num(s.SentTCP), unit, num(s.ResentTCP), unit,
			100*float64(s.ResentTCP)/float64(s.SentTCP)))
	}
	if s.RTT > 0 {
		line("Least round trip", fmt.Sprintf("%.1f ms", float64(s.RTT.Microseconds())/1000))
	}
	if s.Congestion != "" {
		line("Sender's congestion control", printable(s.Congestion))
	}
	if s.Via != "" {
		line("Not end to end", printable(s.Via)+" is in between")
	}
}

// writeStats writes the block of --stats, in rsync's words where rsync has them.
func writeStats(b *strings.Builder, s event.Summary, num func(int64) string, unit string) {
	of := ""
	for _, k := range []struct {
		n    int64
		name string
	}{{s.Files, "reg"}, {s.Dirs, "dir"}, {s.Symlinks, "link"}} {
		if k.n > 0 {
			of += ", " + k.name + ": " + commas(k.n)
		}
	}
	if of != "" {
		of = " (" + of[2:] + ")"
	}
	line := func(name, value string) { fmt.Fprintf(b, "%s: %s\n", name, value) }
	line("Number of files", commas(s.Files+s.Dirs+s.Symlinks)+of)
	line("Number of created files", commas(s.Created))
	line("Number of deleted files", commas(s.Deleted))
	line("Number of regular files transferred", commas(s.Transferred))
	line("Number of files made from moved content", commas(s.Moved))
	line("Number of entries skipped", commas(s.Skipped))
	line("Number of entries failed", commas(s.Failed))
	line("Total file size", num(s.Bytes)+unit)
	line("Literal data", num(s.Literal)+unit)
	line("Matched data", num(s.Reused)+unit)
	line("Total bytes sent", num(s.WireOut)+unit)
	line("Total bytes received", num(s.WireIn)+unit)
	line("Retries", commas(s.Retries))
	line("Time without link", span(s.LinkDown))
	writePath(s, num, unit, line)
	line("Elapsed time", span(s.Elapsed))
	if s.Tree != "" {
		line("Tree", printable(s.Tree))
	}
	b.WriteByte('\n')
}
