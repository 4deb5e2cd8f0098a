//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ropeway/ropeway/internal/fault"
)

// TestLab syncs between two hosts of a lab, over a link that forgets their connections
// and goes dark once, and wants b's exit code to be that of the lab.
func TestLab(t *testing.T) {
	d := dir(t)
	if err := os.MkdirAll(d+"/src", 0o755); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 3e6)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // or compression would leave nothing to send
	if err := os.WriteFile(d+"/src/f", content, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "lab", "run", "--json", "--profile=qa-vpn", "--timeout=60", "--event=forget@1MB", "--event=blackout@2MB for 1s",
		"--host", "a=exec "+program+" serve --ephemeral --listen=$A:8730 "+d+"/src >"+d+"/served",
		"--host", `b=until grep -qs "^https://" `+d+`/served; do sleep .02; done; url=$(grep -o "https://[^ ']*" `+d+`/served | head -1); `+program+` sync -a "$url" `+d+`/dst && exit 42`)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%v\n%s", err, out)
	}
	switch fault.Class(exit.ExitCode()) {
	case fault.Denied, fault.Incompatible:
		t.Skip(stderr.String())
	case 42:
	default:
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var end struct {
		Type     string
		Exits    map[string]int
		Counters struct{ Events int }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-2]), &end); err != nil {
		t.Fatal(err)
	}
	if end.Type != "lab" || end.Exits["b"] != 42 || end.Counters.Events != 2 {
		t.Errorf("%+v", end)
	}
	if fi, err := os.Stat(d + "/dst/f"); err != nil || fi.Size() != 3e6 {
		t.Errorf("%v, %v", fi, err)
	}
}
