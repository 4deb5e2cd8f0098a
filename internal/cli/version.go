package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// protocolVersion is the version of the wire and disk formats.
const protocolVersion = 0

// version is what `ropeway version` knows of the build.
type version struct {
	Schema   int    `json:"schema"`
	Type     string `json:"type"`
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Built    string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Protocol int    `json:"protocol"`
}

func buildVersion() version {
	v := version{
		Schema: jsonSchema, Type: "version", Version: "devel", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Protocol: protocolVersion,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "vcs.time":
			v.Built = s.Value
		}
	}
	return v
}

func (v version) String() string {
	s := "ropeway " + v.Version
	if v.Commit != "" {
		s += " (commit " + v.Commit[:min(12, len(v.Commit))]
		if v.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return fmt.Sprintf("%s %s %s protocol %d", s, v.Go, v.Platform, v.Protocol)
}

func (a *app) versionVerb() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:     "version [--json]",
		Short:   "Print version, commit, Go, platform and protocol",
		Example: "  ropeway version\n  ropeway version --json",
		Args:    operands(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion()
			if asJSON {
				a.exitPrinted = true // the object is all
				_, err := a.stdout.Write(jsonLine(v))
				return err
			}
			_, err := fmt.Fprintln(a.stdout, v)
			return err
		},
	}
	return a.define(cmd, func(f *flags) { f.on(&asJSON, "json", "", "print one JSON object") })
}
