package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is what an Event does.
type Action uint8

// The actions, with the fields of Event that they use.
const (
	// Blackout loses every packet in Dir, those under way too, For a time or
	// until Clear.
	Blackout Action = iota + 1
	// Stall delays every packet in Dir For a time or until Clear; then they are
	// sent at the link's rate. None is lost.
	Stall
	// Clear ends blackouts and stalls in Dir.
	Clear
	// Forget makes every flow that exists die in Dir: its packets vanish, or
	// are answered by a RST when RST is set. A new connection works, also
	// between the same ports.
	Forget
	// Reset sends a RST to the TCP connections' end at Side. Then their packets
	// vanish, unless Intact is set: then only the RST is forged.
	Reset
	// Age makes every flow die For a time after it began, or when Bytes of its
	// packets were delivered; 0 for both ends that. With RST both ends get one.
	Age
	// Set changes parameters of Dir to those listed in Params, as Params.SetAll
	// takes them; with For they change back.
	Set
	// Address gives the host at Side another address, as far as the other can
	// tell: TCP flows die silently, and UDP flows go on from another port.
	Address
)

var actions = [...]string{
	"none", Blackout: "blackout", Stall: "stall", Clear: "clear", Forget: "forget",
	Reset: "reset", Age: "age", Set: "set", Address: "address",
}

func (a Action) String() string {
	if int(a) < len(actions) {
		return actions[a]
	}
	return "none"
}

// Event is something that happens to a link. Its text form is
//
//	ACTION[:ARG,...][@WHEN][ for DURATION]
//
//	blackout@20MB for 70s      everything is lost from the 20th megabyte on, for 70 s
//	blackout:ab@10s for 30s    only from a to b
//	stall@5s for 70s           everything is late, nothing is lost
//	clear@90s                  ends blackouts and stalls
//	forget@20MB                the link forgets all flows; new ones work
//	forget:ba,rst@5s           only from b to a, and b is told by RST
//	reset:b@20MB               RST to b, then the flows' packets vanish
//	reset:both,intact@20MB     RST to both, the link goes on
//	age:30s  age:5MB,rst       every flow dies after 30 s, or by RST after 5 MB
//	set:ab,loss=5%,delay=30ms@10s for 20s
//	address:a@10s              a's NAT gives it another address
//
// WHEN is a time (5s), bytes delivered (20MB, both directions together;
// ab:20MB one of them), or a time after that (20MB+3s). It counts from when
// the event is scheduled. Without it the event happens at once.
type Event struct {
	At         time.Duration
	AfterBytes int64     // of IP packets; At counts from there
	Of         Direction // whose bytes; 0 is both together

	Do     Action
	Dir    Direction
	Side   Side
	For    time.Duration
	Bytes  int64
	RST    bool
	Intact bool
	Params string
}

const maxEventText = 1000

// ParseEvent reads the text form of an Event.
func ParseEvent(s string) (Event, error) {
	if len(s) > maxEventText {
		return Event{}, fmt.Errorf("event of %d bytes; the most is %d", len(s), maxEventText)
	}
	e, err := parseEvent(strings.TrimSpace(s))
	if err != nil {
		return Event{}, fmt.Errorf("event %s: %w", quote(s), err)
	}
	return e, nil
}

func parseEvent(s string) (e Event, err error) {
	what, dur, timed := strings.Cut(s, " for ")
	what, when, planned := strings.Cut(what, "@")
	word, args, _ := strings.Cut(strings.TrimSpace(what), ":")
	e.Do = Action(max(0, slices.Index(actions[:], word)))
	if e.Do == 0 {
		return e, fmt.Errorf("no action %s; there are blackout, stall, clear, forget, reset, age, set, address", quote(word))
	}
	if timed {
		if e.For, err = parseTime(dur, maxDuration); err != nil {
			return e, err
		}
	}
	if planned {
		if err = e.parseWhen(strings.TrimSpace(when)); err != nil {
			return e, err
		}
	}
	if args != "" {
		for arg := range strings.SplitSeq(args, ",") {
			if err = e.parseArg(strings.TrimSpace(arg)); err != nil {
				return e, err
			}
		}
	}
	return e, e.check(timed)
}

// parseWhen reads what follows the @.
func (e *Event) parseWhen(s string) (err error) {
	if d, err := parseTime(s, maxDuration); err == nil {
		e.At = d
		return nil
	}
	size, after, more := strings.Cut(s, "+")
	if dir, rest, ok := strings.Cut(size, ":"); ok {
		if e.Of, ok = parseDirection(dir); !ok {
			return fmt.Errorf("no direction %s; write ab:%s, ba:%s or %s", quote(dir), rest, rest, rest)
		}
		size = rest
	}
	if e.AfterBytes, err = parseSize(size); err != nil || e.AfterBytes == 0 {
		return fmt.Errorf("%s is no time and no number of bytes; write it like @5s, @20MB, @ab:20MB or @20MB+3s", quote(s))
	}
	if more {
		e.At, err = parseTime(after, maxDuration)
	}
	return err
}

// parseArg reads one of the words after the colon.
func (e *Event) parseArg(s string) (err error) {
	dir, isDir := parseDirection(s)
	side, isSide := parseSide(s)
	switch {
	case isDir && (e.Do == Blackout || e.Do == Stall || e.Do == Clear || e.Do == Forget || e.Do == Set):
		e.Dir = dir
	case isSide && (e.Do == Reset || e.Do == Address):
		e.Side = side
	case s == "rst" && (e.Do == Forget || e.Do == Age):
		e.RST = true
	case s == "intact" && e.Do == Reset:
		e.Intact = true
	case e.Do == Set && strings.Contains(s, "="):
		var try Params
		if err := try.SetAll(s); err != nil {
			return err
		}
		if e.Params != "" {
			e.Params += ","
		}
		e.Params += s
	case e.Do == Age && s == "off":
	case e.Do == Age:
		if e.For, err = parseTime(s, maxDuration); err == nil {
			return nil
		}
		e.For = 0
		if e.Bytes, err = parseSize(s); err != nil {
			return fmt.Errorf("%s is no age; write it like age:30s, age:5MB or age:off", quote(s))
		}
	default:
		return fmt.Errorf("%s does not go with %s", quote(s), e.Do)
	}
	return nil
}

// check finds what each word alone does not show.
func (e *Event) check(timed bool) error {
	switch e.Do {
	case Blackout, Stall:
	case Set:
		if e.Params == "" {
			return errors.New("says no setting; write set:loss=5% or set:ab,loss=5%,delay=30ms")
		}
	default:
		if timed {
			return fmt.Errorf("%s does not last; leave out \"for\"", e.Do)
		}
	}
	return nil
}

func parseDirection(s string) (Direction, bool) {
	for _, d := range []Direction{AB, BA, Both} {
		if s == d.String() {
			return d, true
		}
	}
	return 0, false
}

func parseSide(s string) (Side, bool) {
	for _, x := range []Side{A, B, BothSides} {
		if s == x.String() {
			return x, true
		}
	}
	return 0, false
}

// String returns the text form.
func (e Event) String() string {
	var args []string
	arg := func(is bool, s string) {
		if is {
			args = append(args, s)
		}
	}
	arg(e.Dir == AB || e.Dir == BA, e.Dir.String())
	arg(e.Side == A || e.Side == B, e.Side.String())
	if e.Do == Age {
		arg(e.For > 0, formatTime(e.For))
		arg(e.Bytes > 0, formatSize(e.Bytes))
		arg(e.For <= 0 && e.Bytes <= 0, "off")
	}
	arg(e.RST, "rst")
	arg(e.Intact, "intact")
	arg(e.Params != "", e.Params)
	s := e.Do.String()
	if len(args) > 0 {
		s += ":" + strings.Join(args, ",")
	}
	switch {
	case e.AfterBytes > 0:
		s += "@"
		if e.Of == AB || e.Of == BA {
			s += e.Of.String() + ":"
		}
		s += formatSize(e.AfterBytes)
		if e.At > 0 {
			s += "+" + formatTime(e.At)
		}
	case e.At > 0:
		s += "@" + formatTime(e.At)
	}
	if e.For > 0 && e.Do != Age {
		s += " for " + formatTime(e.For)
	}
	return s
}

// MarshalText implements encoding.TextMarshaler; JSON has events as text.
func (e Event) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *Event) UnmarshalText(b []byte) (err error) {
	*e, err = ParseEvent(string(b))
	return err
}
