package link

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestProfiles(t *testing.T) {
	all := Profiles()
	seen := map[string]bool{}
	for i, p := range all {
		if seen[p.Name] || !regexp.MustCompile(`^[a-z0-9-]{1,20}$`).MatchString(p.Name) || checkText(p.About, maxAbout) != nil {
			t.Errorf("%s: %q", p.Name, p.About)
		}
		seen[p.Name] = true
		if p.AB.possible() != p.AB || p.BA.possible() != p.BA {
			t.Errorf("%s is not possible", p.Name)
		}
		found, err := Find(p.Name)
		if err != nil || !reflect.DeepEqual(found, all[i]) {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	for _, name := range []string{"clean", "lan", "qa-vpn", "bad-vpn", "awful", "intercontinental", "lossy-1", "lossy-5", "lossy-10", "lossy-15", "gig"} {
		if !seen[name] {
			t.Errorf("no %s", name)
		}
	}
	if _, err := Find("wet-string"); err == nil || !strings.Contains(err.Error(), "qa-vpn") {
		t.Error(err)
	}
}

const branch = `
name = "branch"
about = "the branch office"
like = "qa-vpn"
flow_age = "5m"
flow_bytes = "100MB"
flow_reset = true
events = ["blackout@30s for 70s", "forget@20MB"]

[ab]
rate = 20_000_000
burst_len = 2.5
[both]
loss = "3%"
queue = "100ms"
corrupt = 0.001
[ba]
loss = 0.04
mtu = 1400
udp_block = true
`

func TestParseFile(t *testing.T) {
	p, err := Parse([]byte(branch))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := Find("qa-vpn")
	want.Name, want.About = "branch", "the branch office"
	want.FlowAge, want.FlowBytes, want.FlowReset = 5*time.Minute, 100e6, true
	want.Events = events(t, "blackout@30s for 70s", "forget@20MB")
	for _, x := range []*Params{&want.AB, &want.BA} {
		x.Loss, x.QueueTime, x.Corrupt = .03, 100*ms, .001
	}
	want.AB.Rate, want.AB.BurstLen = 20e6, 2.5
	want.BA.Loss, want.BA.MTU, want.BA.UDPBlock = .04, 1400, true
	if !reflect.DeepEqual(p, want) {
		t.Errorf("%+v\n%+v", p, want)
	}
	if q, err := Find("qa-vpn"); err != nil || q.AB.Loss != .015 {
		t.Error("the profile that it is like has changed")
	}
	if p, err := Parse(nil); err != nil || p.Name != "custom" || p.AB != (Params{}) {
		t.Errorf("%+v %v", p, err)
	}
}

func TestParseFileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"rate = 5":                         `"rate": no such key`,
		"[ab]\nlos = 5":                    `[ab] "los": no such setting`,
		"[up]\nloss = 5":                   `"up": no such key`,
		"ab = 5":                           "is a section",
		"[ab]\nloss = [5]":                 `[ab] "loss": give a text`,
		"[ab]\nloss = 5":                   "[ab] loss: \"5\" is no probability",
		"[ab]\ndelay = 20":                 "write it like 20ms",
		"[ab]\nloss = inf":                 "no probability",
		"[ab]\nrate = -5":                  "no rate",
		"[ab]\nloss = 1979-05-27":          "give a text",
		"like = 5":                         "give the name",
		"like = \"x\"":                     "no profile",
		"name = \"\"":                      "one line",
		"name = \"a\\nb\"":                 "one line",
		"about = 5.5":                      "",
		"flow_age = \"soon\"":              "flow_age: \"soon\" is no duration",
		"flow_bytes = \"-5\"":              "no size",
		"flow_reset = \"maybe\"":           "true or false",
		"events = \"x\"":                   "give a list",
		"events = [5]":                     "each is a text",
		"events = [\"x\"]":                 "no action",
		"a = \n":                           "line 1",
		"[ab]\nloss = 1\nloss = 2":         "line 3",
		strings.Repeat("#", maxFile+1):     "the most is",
		"x = " + strings.Repeat("[", 30e3): "",
	} {
		_, err := Parse([]byte(text))
		if want == "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	all := Profiles()
	if p, err := Parse([]byte(branch)); err == nil {
		all = append(all, p)
	}
	for _, p := range all {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q Profile
		if err := json.Unmarshal(b, &q); err != nil || !reflect.DeepEqual(p, q) {
			t.Errorf("%s: %v\n%+v\n%+v", b, err, p, q)
		}
		if b, err = json.Marshal(p.AB); err != nil {
			t.Fatal(err)
		}
		var x Params
		if err := json.Unmarshal(b, &x); err != nil || x != p.AB {
			t.Errorf("%s: %v", b, err)
		}
	}
	var p Profile
	for _, bad := range []string{`{"x":1}`, `{"ab":{"los":1}}`, `[]`, `{"name":null}`, `{"events":{}}`} {
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	b, err := json.Marshal(Counters{})
	if err != nil || !strings.Contains(string(b), `"lost_dead_flow":0`) {
		t.Errorf("%s %v", b, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(branch))
	f.Add([]byte("[both]\nloss = 1e-3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if p.AB.possible() != p.AB || p.BA.possible() != p.BA {
			t.Fatalf("an impossible link: %+v", p)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q Profile
		if err := json.Unmarshal(b, &q); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		again, err := json.Marshal(q)
		if err != nil || string(again) != string(b) {
			t.Fatalf("%s is read as %s", b, again)
		}
	})
}

// TestDocumented holds docs/links.md against the code.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/links.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, p := range Profiles() {
		if row := "| `" + p.Name + "` | " + p.About + " |"; !strings.Contains(text, row) {
			t.Errorf("missing: %s", row)
		}
	}
	for _, name := range Settings() {
		if !strings.Contains(text, "| `"+name+"` |") {
			t.Errorf("missing: %s", name)
		}
	}
	for _, name := range actions[1:] {
		if !strings.Contains(text, "| `"+name) {
			t.Errorf("missing: %s", name)
		}
	}
	_, section, _ := strings.Cut(text, "## Events")
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		if e, err := ParseEvent(m[1]); err != nil || e.String() != strings.Replace(m[1], "both,", "", 1) {
			t.Errorf("%s: printed as %s, %v", m[1], e, err)
		}
	}
	_, file, _ := strings.Cut(text, "```toml\n")
	file, _, _ = strings.Cut(file, "```")
	if p, err := Parse([]byte(file)); err != nil || p.BA.Rate != 20e6 {
		t.Errorf("%+v, %v", p, err)
	}
}
