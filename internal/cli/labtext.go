package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ropeway/ropeway/internal/lab"
	"github.com/ropeway/ropeway/internal/link"
)

type jsonOutput struct {
	jsonHead
	Host   string `json:"host"`
	Stream string `json:"stream"`
	Line   string `json:"line"`
}

type jsonLab struct {
	jsonHead
	Lab      int            `json:"lab"`
	Process  int            `json:"process"`
	Profile  string         `json:"profile"`
	Seed     uint64         `json:"seed,omitempty"`
	Elapsed  float64        `json:"elapsed"`
	Counters link.Counters  `json:"counters"`
	Machine  lab.Machine    `json:"machine"`
	Exits    map[string]int `json:"exits,omitempty"`
}

func newJSONLab(s *lab.Status, seed uint64, exits map[string]int) jsonLab {
	return jsonLab{head("lab"), s.Lab, s.Process, s.Profile, seed, s.Elapsed, s.Counters, s.Machine, exits}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// labText tells the fate of every packet.
func labText(s *lab.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "lab: %s on link %s\n", lasted(s.Elapsed), printable(s.Profile))
	c := &s.Counters
	for _, d := range []struct {
		name string
		c    *link.DirCounters
	}{{"a to b", &c.AB}, {"b to a", &c.BA}} {
		fmt.Fprintf(&b, "  %s  %s of %s packets delivered, %s of %s%s\n", d.name, commas(d.c.Delivered), commas(d.c.Offered),
			human(d.c.DeliveredBytes), human(d.c.OfferedBytes), fates(d.c))
	}
	parts := []string{plural(c.Flows, "flow", "flows")}
	count := func(n int64, one, many string) {
		if n > 0 {
			parts = append(parts, plural(n, one, many))
		}
	}
	count(c.FlowsCut, "of them cut", "of them cut")
	count(c.Events, "event", "events")
	count(c.RSTs, "RST by the link", "RSTs by the link")
	count(c.ICMPs, "ICMP message by the link", "ICMP messages by the link")
	fmt.Fprintf(&b, "  link    %s\n", strings.Join(parts, ", "))
	machineText(&b, s.Machine)
	return b.String()
}

// fates lists what else became of the packets of a direction.
func fates(c *link.DirCounters) string {
	var b strings.Builder
	sep := ": "
	for _, f := range []struct {
		n    int64
		what string
	}{
		{c.LostRandom, "lost at random"}, {c.LostBurst, "lost in bursts"}, {c.LostQueue, "dropped by a full queue"},
		{c.LostBlackout, "lost in blackouts"}, {c.LostDead, "of dead flows"}, {c.LostMTU, "too long"},
		{c.LostHole, "too long, silently"}, {c.LostPoliced, "policed"}, {c.Held, "under way"}, {c.Duplicated, "doubled"},
		{c.Corrupted, "damaged"}, {c.CorruptedSilent, "damaged silently"}, {c.Reordered, "held back"},
	} {
		if f.n > 0 {
			fmt.Fprintf(&b, "%s%s %s", sep, commas(f.n), f.what)
			sep = ", "
		}
	}
	return b.String()
}

// machineText says where this machine, not the link, is to blame.
func machineText(b *strings.Builder, m lab.Machine) {
	if m.Late > 0 {
		fmt.Fprintf(b, "  machine %s packets (%.2f %%) more than 5 ms late, at worst %d ms: it was busy, mistrust the times\n",
			commas(m.Late), 100*float64(m.Late)/float64(max(m.Forwarded, 1)), m.WorstLate.Milliseconds())
	}
	for _, x := range []struct {
		n    int64
		what string
	}{
		{m.Dropped, "dropped by the kernel before the link: the machine is too slow for this"},
		{m.Refused, "refused by the kernel behind the link"},
		{m.Unroutable, "sent to no host of the lab"},
		{m.PcapMissed, "missing in the captures: the disk is slow or full"},
	} {
		if x.n > 0 {
			fmt.Fprintf(b, "  machine %s packets %s\n", commas(x.n), x.what)
		}
	}
}
