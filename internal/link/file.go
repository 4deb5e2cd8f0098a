package link

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	maxFile   = 64 << 10
	maxEvents = 1000
	maxName   = 64
	maxAbout  = 200
)

// Parse reads a link from a TOML file:
//
//	name = "branch"                   # default: "custom"
//	about = "the branch office, as measured in May"
//	like = "qa-vpn"                   # start from this profile; default: a perfect link
//	flow_age = "5m"                   # flows are cut after a time
//	flow_bytes = "100MB"              # or after so many bytes
//	flow_reset = true                 # by RST; default: silently
//	events = ["blackout@30s for 70s"] # see Event
//
//	[both]                            # both directions; [ab] and [ba] go on top
//	rate = "100Mbit"                  # numbers without a unit: bit/s, bytes, seconds
//	queue = "50ms"                    # or bytes: "256KiB"
//	delay = "15ms"
//	jitter = "2ms"
//	loss = "1.5%"
//	burst = "8%"
//	burst_len = 4
//	reorder = "2%"
//	reorder_by = "5ms"
//	duplicate = "0.1%"
//	corrupt = "0.1%"
//	corrupt_silent = "0.01%"
//	mtu = 1400
//	mtu_hole = 1300
//	udp_rate = "10Mbit"
//	udp_block = true
//
// Keys that it does not know are errors. A file has at most 64 KiB.
func Parse(text []byte) (Profile, error) {
	if len(text) > maxFile {
		return Profile{}, fmt.Errorf("a link file of %d bytes; the most is %d", len(text), maxFile)
	}
	var m map[string]any
	if err := toml.Unmarshal(text, &m); err != nil {
		if at := (*toml.DecodeError)(nil); errors.As(err, &at) {
			row, col := at.Position()
			return Profile{}, fmt.Errorf("line %d, column %d: %s", row, col, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return Profile{}, fmt.Errorf("not a TOML file: %w", err)
	}
	return profileOf(m)
}

// profileOf reads a link from the tree of a TOML or JSON document.
func profileOf(m map[string]any) (p Profile, err error) {
	p.Name = "custom"
	if like, ok := m["like"]; ok {
		name, ok := like.(string)
		if !ok {
			return p, errors.New("like: give the name of a profile")
		}
		if p, err = Find(name); err != nil {
			return p, fmt.Errorf("like: %w", err)
		}
	}
	// Sections in this order, as each goes on top of the one before.
	for _, key := range []string{"both", "ab", "ba"} {
		v, ok := m[key]
		if !ok {
			continue
		}
		section, ok := v.(map[string]any)
		if !ok {
			return p, fmt.Errorf("%s: is a section; write [%s] and its settings below", key, key)
		}
		for _, name := range slices.Sorted(maps.Keys(section)) {
			text, err := scalar(section[name])
			if err != nil {
				return p, fmt.Errorf("[%s] %s: %w", key, quote(name), err)
			}
			dir, _ := parseDirection(key)
			for i, params := range []*Params{&p.AB, &p.BA} {
				if !dir.has(i) {
					continue
				}
				if err := params.Set(name, text); err != nil {
					return p, fmt.Errorf("[%s] %w", key, err)
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if err := p.setTop(key, m[key]); err != nil {
			return p, err
		}
	}
	return p, nil
}

// setTop sets what stands above the sections.
func (p *Profile) setTop(key string, v any) (err error) {
	switch key {
	case "like", "both", "ab", "ba":
		return nil
	case "events":
		return p.setEvents(v)
	case "name", "about", "flow_age", "flow_bytes", "flow_reset":
	default:
		return fmt.Errorf("%s: no such key; there are name, about, like, flow_age, flow_bytes, flow_reset, events, "+
			"and the sections [both], [ab] and [ba]", quote(key))
	}
	text, err := scalar(v)
	if err == nil {
		switch key {
		case "name":
			p.Name, err = text, checkText(text, maxName)
		case "about":
			p.About, err = text, checkText(text, maxAbout)
		case "flow_age":
			p.FlowAge, err = parseTime(text, maxDuration)
		case "flow_bytes":
			p.FlowBytes, err = parseSize(text)
		case "flow_reset":
			if p.FlowReset = text == "true"; !p.FlowReset && text != "false" {
				err = errors.New("give true or false")
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (p *Profile) setEvents(v any) error {
	list, ok := v.([]any)
	if !ok || len(list) > maxEvents {
		return fmt.Errorf("events: give a list of at most %d texts such as \"blackout@30s for 70s\"", maxEvents)
	}
	p.Events = nil
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			return errors.New("events: each is a text such as \"blackout@30s for 70s\"")
		}
		e, err := ParseEvent(s)
		if err != nil {
			return err
		}
		p.Events = append(p.Events, e)
	}
	return nil
}

// checkText wants one printable line.
func checkText(s string, most int) error {
	if s == "" || len(s) > most || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return fmt.Errorf("give one line of 1 to %d printable characters", most)
	}
	return nil
}

// scalar returns a value of a document as a setting's text.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case json.Number:
		return v.String(), nil
	}
	return "", errors.New("give a text, a number, true or false")
}

// MarshalJSON implements json.Marshaler, with the keys and texts of a file.
func (p Profile) MarshalJSON() ([]byte, error) {
	type document struct {
		Name      string  `json:"name"`
		About     string  `json:"about,omitempty"`
		AB        Params  `json:"ab"`
		BA        Params  `json:"ba"`
		FlowAge   string  `json:"flow_age,omitempty"`
		FlowBytes int64   `json:"flow_bytes,omitempty"`
		FlowReset bool    `json:"flow_reset,omitempty"`
		Events    []Event `json:"events,omitempty"`
	}
	d := document{Name: p.Name, About: p.About, AB: p.AB, BA: p.BA, FlowBytes: p.FlowBytes, FlowReset: p.FlowReset, Events: p.Events}
	if p.FlowAge > 0 {
		d.FlowAge = formatTime(p.FlowAge)
	}
	return json.Marshal(d)
}

// UnmarshalJSON implements json.Unmarshaler, by the rules of Parse.
func (p *Profile) UnmarshalJSON(b []byte) error {
	m, err := object(b)
	if err == nil {
		*p, err = profileOf(m)
	}
	return err
}

// MarshalJSON implements json.Marshaler: the settings that are not the
// default, as texts.
func (p Params) MarshalJSON() ([]byte, error) {
	m := make(map[string]string, len(settings))
	for _, s := range settings {
		if v := s.get(&p); v != "" {
			m[s.name] = v
		}
	}
	return json.Marshal(m)
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Params) UnmarshalJSON(b []byte) error {
	m, err := object(b)
	if err != nil {
		return err
	}
	var q Params
	for _, name := range slices.Sorted(maps.Keys(m)) {
		text, err := scalar(m[name])
		if err == nil {
			err = q.Set(name, text)
		}
		if err != nil {
			return err
		}
	}
	*p = q
	return nil
}

// object decodes a JSON object whose numbers keep their text.
func object(b []byte) (map[string]any, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("a link of %d bytes; the most is %d", len(b), maxFile)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return m, nil
}
