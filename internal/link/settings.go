package link

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is one field of Params: its name in files, flags and JSON, and its
// text. Numbers without a unit are bit/s, bytes, seconds and probabilities.
type setting struct {
	name string
	set  func(*Params, string) error
	get  func(*Params) string // empty: the default
}

// settings lists all fields in the order in which they are printed.
var settings = []setting{
	rateSetting("rate", func(p *Params) *int64 { return &p.Rate }),
	{"queue", setQueue, getQueue},
	timeSetting("delay", func(p *Params) *time.Duration { return &p.Delay }),
	timeSetting("jitter", func(p *Params) *time.Duration { return &p.Jitter }),
	shareSetting("reorder", func(p *Params) *float64 { return &p.Reorder }),
	timeSetting("reorder_by", func(p *Params) *time.Duration { return &p.ReorderBy }),
	shareSetting("loss", func(p *Params) *float64 { return &p.Loss }),
	shareSetting("burst", func(p *Params) *float64 { return &p.Burst }),
	{"burst_len", setBurstLen, getBurstLen},
	shareSetting("duplicate", func(p *Params) *float64 { return &p.Duplicate }),
	shareSetting("corrupt", func(p *Params) *float64 { return &p.Corrupt }),
	shareSetting("corrupt_silent", func(p *Params) *float64 { return &p.CorruptSilent }),
	sizeSetting("mtu", func(p *Params) *int { return &p.MTU }),
	sizeSetting("mtu_hole", func(p *Params) *int { return &p.MTUHole }),
	rateSetting("udp_rate", func(p *Params) *int64 { return &p.UDPRate }),
	{"udp_block", setUDPBlock, getUDPBlock},
}

// Settings returns the names that Set takes.
func Settings() []string {
	names := make([]string, len(settings))
	for i := range settings {
		names[i] = settings[i].name
	}
	return names
}

// Set changes one parameter, by the name that it has in files: "loss", "1.5%".
func (p *Params) Set(name, value string) error {
	for _, s := range settings {
		if s.name == name {
			if err := s.set(p, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: no such setting; there are %s", quote(name), strings.Join(Settings(), ", "))
}

// SetAll changes parameters by a list such as "loss=1.5%,delay=20ms".
func (p *Params) SetAll(list string) error {
	changed := *p
	for item := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("%s is no setting; write NAME=VALUE, such as loss=1.5%%", quote(item))
		}
		if err := changed.Set(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	*p = changed
	return nil
}

// String returns what is not the default, in the form that SetAll takes:
// "rate=100Mbit,delay=15ms".
func (p Params) String() string {
	var b strings.Builder
	for _, s := range settings {
		if v := s.get(&p); v != "" {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			b.WriteString(s.name + "=" + v)
		}
	}
	return b.String()
}

// quote quotes a word of the input for a message, shortened.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strconv.Quote(s)
}

func rateSetting(name string, f func(*Params) *int64) setting {
	return setting{
		name,
		func(p *Params, s string) (err error) {
			n, err := parseRate(s)
			if err == nil {
				*f(p) = n
			}
			return err
		},
		func(p *Params) string {
			if *f(p) == 0 {
				return ""
			}
			return formatRate(*f(p))
		},
	}
}

func timeSetting(name string, f func(*Params) *time.Duration) setting {
	return setting{
		name,
		func(p *Params, s string) error {
			d, err := parseTime(s, maxDelay)
			if err == nil {
				*f(p) = d
			}
			return err
		},
		func(p *Params) string {
			if *f(p) == 0 {
				return ""
			}
			return formatTime(*f(p))
		},
	}
}

func shareSetting(name string, f func(*Params) *float64) setting {
	return setting{
		name,
		func(p *Params, s string) error {
			x, err := parseShare(s)
			if err == nil {
				*f(p) = x
			}
			return err
		},
		func(p *Params) string {
			if *f(p) == 0 {
				return ""
			}
			return formatShare(*f(p))
		},
	}
}

func sizeSetting(name string, f func(*Params) *int) setting {
	return setting{
		name,
		func(p *Params, s string) error {
			n, err := parseSize(s)
			if err == nil && n != 0 && (n < minMTU || n > maxMTU) {
				err = fmt.Errorf("%s is out of range; give 0 (no limit) or %d to %d bytes", s, minMTU, maxMTU)
			}
			if err == nil {
				*f(p) = int(n)
			}
			return err
		},
		func(p *Params) string {
			if *f(p) == 0 {
				return ""
			}
			return strconv.Itoa(*f(p))
		},
	}
}

// setQueue takes bytes or a time at the rate.
func setQueue(p *Params, s string) error {
	if d, err := parseTime(s, maxDelay); err == nil {
		p.Queue, p.QueueTime = 0, d
		return nil
	}
	n, err := parseSize(s)
	if err != nil || n > maxQueue {
		return fmt.Errorf("%s is no queue; write it like 50ms or 256KiB, at most 1GiB", quote(s))
	}
	p.Queue, p.QueueTime = int(n), 0
	return nil
}

func getQueue(p *Params) string {
	switch {
	case p.Queue > 0:
		return formatSize(int64(p.Queue))
	case p.QueueTime > 0:
		return formatTime(p.QueueTime)
	}
	return ""
}

func setBurstLen(p *Params, s string) error {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || x != 0 && x < 1 || x > maxBurstLen || math.IsNaN(x) {
		return fmt.Errorf("%s is no mean burst length; give 1 to 1000000 packets", quote(s))
	}
	p.BurstLen = x
	return nil
}

func getBurstLen(p *Params) string {
	if p.BurstLen == 0 {
		return ""
	}
	return strconv.FormatFloat(p.BurstLen, 'f', -1, 64)
}

func setUDPBlock(p *Params, s string) error {
	if !slices.Contains([]string{"true", "false"}, s) {
		return errors.New("give true or false")
	}
	p.UDPBlock = s == "true"
	return nil
}

func getUDPBlock(p *Params) string {
	if !p.UDPBlock {
		return ""
	}
	return "true"
}
