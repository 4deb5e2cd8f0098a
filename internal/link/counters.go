package link

// Counters says what became of every packet that was offered to a Path.
type Counters struct {
	AB DirCounters `json:"ab"`
	BA DirCounters `json:"ba"`

	Flows    int64 `json:"flows"`     // flows seen: TCP and UDP 5-tuples
	FlowsCut int64 `json:"flows_cut"` // of them, forgotten, reset or aged
	RSTs     int64 `json:"rsts"`      // RST packets made by the link
	ICMPs    int64 `json:"icmps"`     // ICMP messages made by the link
	Events   int64 `json:"events"`    // events that happened
}

// DirCounters counts the packets of one direction. At any time
//
//	Offered + Duplicated = Delivered + all Lost… + held
//
// where held are those under way.
type DirCounters struct {
	Offered        int64 `json:"offered"`
	OfferedBytes   int64 `json:"offered_bytes"`
	Delivered      int64 `json:"delivered"`
	DeliveredBytes int64 `json:"delivered_bytes"`

	LostRandom   int64 `json:"lost_random"`
	LostBurst    int64 `json:"lost_burst"`
	LostQueue    int64 `json:"lost_queue"`     // the queue was full
	LostBlackout int64 `json:"lost_blackout"`  // sent in a blackout, or under way when it began
	LostMTU      int64 `json:"lost_mtu"`       // too long; the sender was told
	LostHole     int64 `json:"lost_mtu_hole"`  // too long; nobody was told
	LostPoliced  int64 `json:"lost_policed"`   // UDP over its rate, or blocked
	LostDead     int64 `json:"lost_dead_flow"` // of flows that were cut

	Duplicated      int64 `json:"duplicated"`
	Corrupted       int64 `json:"corrupted"`        // by a flipped bit that the checksum shows
	CorruptedSilent int64 `json:"corrupted_silent"` // with a checksum that matches
	Reordered       int64 `json:"reordered"`        // held back for others to pass

	Held          int64 `json:"held"`            // packets under way now
	MaxQueueBytes int64 `json:"max_queue_bytes"` // the most that waited to be sent
}

// Lost returns the packets that did not arrive and will not.
func (c *DirCounters) Lost() int64 {
	return c.LostRandom + c.LostBurst + c.LostQueue + c.LostBlackout + c.LostMTU + c.LostHole + c.LostPoliced + c.LostDead
}

// Dir returns the counters of direction d, AB or BA.
func (c *Counters) Dir(d Direction) *DirCounters {
	if d == BA {
		return &c.BA
	}
	return &c.AB
}
