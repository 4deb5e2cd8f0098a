package trial

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ropeway/ropeway/internal/lab/report"
)

// program is one that must be installed.
type program struct {
	name, pack string   // pack: the package of Debian that has it
	version    []string // arguments that make it tell its version
}

var (
	rsyncProgram  = program{"rsync", "rsync", []string{"--version"}}
	nginxProgram  = program{"nginx", "nginx-light", []string{"-v"}}
	wgetProgram   = program{"wget", "wget", []string{"--version"}}
	curlProgram   = program{"curl", "curl", []string{"--version"}}
	ariaProgram   = program{"aria2c", "aria2", []string{"--version"}}
	rcloneProgram = program{"rclone", "rclone", []string{"version"}}
)

// find is the path of a program, looked for where daemons are, too.
func (p program) find() (string, error) {
	if path, err := exec.LookPath(p.name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, p.name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not installed: apt-get install %s", p.name, p.pack)
}

// tool is a way to move a payload from one host to the other: a server on host
// a, a client on host b.
type tool struct {
	name  string
	about string // the command, for people
	push  bool   // the client sends
	needs []program
	tree  bool     // it can move a tree
	why   string   // it moves no trees
	set   []kernel // settings of the hosts that the tool asks for
	serve func(ctx context.Context, s *stage) error
	// client is the command that host b runs; running it again is how a
	// user would continue.
	client func(s *stage) command
}

// The ports of the servers, on host a.
const (
	rsyncPort   = 8730
	nginxPort   = 8080
	ropewayPort = 8873
)

// tools are all that take part, in the order in which they are shown. self is
// the path of our own program.
func tools(self string) []tool {
	fetchOnly := "fetches single files"
	return []tool{
		{
			name: report.Ropeway, about: "ropeway sync -a URL DST", tree: true,
			serve: func(ctx context.Context, s *stage) error { return s.serveRopeway(ctx, self, false) },
			client: func(s *stage) command {
				return command{argv: []string{self, "sync", s.ropewayFlags(), s.url, s.dst + "/"}}
			},
		},
		{
			name: ropewayPush, about: "ropeway sync -a SRC/ URL", tree: true, push: true,
			serve: func(ctx context.Context, s *stage) error { return s.serveRopeway(ctx, self, true) },
			client: func(s *stage) command {
				return command{argv: []string{self, "sync", s.ropewayFlags(), s.src + "/", s.url}}
			},
		},
		rsync("rsync", false), rsync("rsync-T60", false, "--timeout=60"),
		rsync("rsync-push", true), rsync("rsync-push-T60", true, "--timeout=60"),
		loop(rsync("rsync-loop", false, "--partial-dir=.rsync-partial", "--sockopts=SO_KEEPALIVE", "--contimeout=20"), []kernel{
			{1, "net.ipv4.tcp_keepalive_time", "15", "7200"}, {1, "net.ipv4.tcp_keepalive_intvl", "5", "75"}, {1, "net.ipv4.tcp_keepalive_probes", "3", "9"},
		}),
		loop(rsync("rsync-push-loop", true, "--partial-dir=.rsync-partial", "--timeout=60", "--contimeout=20"), nil),
		{
			name: "wget", about: "wget -nv URL (tree: -r -np -nH)", tree: true,
			needs: []program{wgetProgram, nginxProgram}, serve: serveNginx,
			client: func(s *stage) command {
				if s.payload.file != "" {
					return command{argv: []string{"wget", "-nv", "-P", s.dst, s.url + s.payload.file}}
				}
				return command{argv: []string{"wget", "-nv", "-r", "-l", "inf", "-np", "-nH", "-P", s.dst, s.url}}
			},
		},
		{
			name: "curl", about: "curl -sS -f -o FILE URL", why: fetchOnly,
			needs: []program{curlProgram, nginxProgram}, serve: serveNginx,
			client: func(s *stage) command {
				return command{argv: []string{"curl", "-sS", "-f", "-o", filepath.Join(s.dst, s.payload.file), s.url + s.payload.file}}
			},
		},
		{
			name: "aria2c", about: "aria2c -x16 -s16 -k1M URL", why: fetchOnly,
			needs: []program{ariaProgram, nginxProgram}, serve: serveNginx,
			client: func(s *stage) command {
				return command{argv: []string{"aria2c", "--no-conf", "-q", "--console-log-level=warn", "-x16", "-s16", "-k1M", "-d", s.dst, s.url + s.payload.file}}
			},
		},
		{
			name: "rclone", about: "rclone copy :http: DST", tree: true,
			needs: []program{rcloneProgram, nginxProgram}, serve: serveNginx,
			client: func(s *stage) command {
				return command{argv: []string{"rclone", "copy", "--config", "/dev/null", "--http-url", s.url, ":http:", s.dst}}
			},
		},
	}
}

// rsync is rsync's client and daemon, the way most people call it.
func rsync(name string, push bool, more ...string) tool {
	about := strings.Join(append([]string{"rsync -avP"}, more...), " ") + " rsync://HOST/m/ DST"
	if push {
		about = strings.Join(append([]string{"rsync -avP"}, more...), " ") + " SRC/ rsync://HOST/m/"
	}
	return tool{
		name: name, about: about, tree: true, push: push, needs: []program{rsyncProgram},
		serve: func(ctx context.Context, s *stage) error { return s.serveRsync(ctx) },
		client: func(s *stage) command {
			flags := []string{"rsync", "-avP"}
			if s.payload.file == "" { // the names of 100,000 files help nobody
				flags = []string{"rsync", "-a"}
			}
			if s.payload.old != "" {
				flags = []string{"rsync", "-az"}
			}
			flags = append(flags, more...)
			if push {
				return command{argv: append(flags, s.src+"/", s.url)}
			}
			return command{argv: append(flags, s.url, s.dst+"/")}
		},
	}
}

// loop repeats a tool until it succeeds: what docs/why-rsync-fails.md advises
// to those who stay with it.
func loop(t tool, set []kernel) tool {
	once := t.client
	t.about = "until " + strings.Replace(t.about, "-avP", "-a", 1) + "; do sleep 5; done"
	for i, k := range set {
		if i == 0 {
			t.about += ", on the client"
		}
		t.about += " " + k.name + "=" + k.value
	}
	t.set = set
	t.client = func(s *stage) command {
		argv := once(s).argv
		for i, word := range argv {
			if word == "-avP" {
				argv[i] = "-a"
			}
		}
		return command{argv: append([]string{"sh", "-c", `until "$@"; do sleep 5; done`, "sh"}, argv...)}
	}
	return t
}

// noDaemon is why rsync takes no part without root.
const noDaemon = "rsync: its daemon drops groups, which user namespaces forbid: run it as root"

// missing says which program a tool lacks, "" for none.
func (t *tool) missing() string {
	for _, p := range t.needs {
		if _, err := p.find(); err != nil {
			return err.Error()
		}
		if p.name == rsyncProgram.name && oneUser() {
			return noDaemon
		}
	}
	return ""
}

// cannot says why the tool has no part in moving a payload, "" if it has.
func (t *tool) cannot(p string) string {
	if !t.tree && p != Jar && p != Small {
		return t.why
	}
	return ""
}

// describe is the tool for a report.
func (t *tool) describe(ctx context.Context, self string) report.Tool {
	d := report.Tool{Name: t.name, About: t.about, Missing: t.missing()}
	if d.Missing != "" {
		return d
	}
	if len(t.needs) == 0 {
		d.Version, _ = output(ctx, self, "version")
	}
	var versions []string
	for _, p := range t.needs {
		if path, err := p.find(); err == nil {
			if v, err := output(ctx, append([]string{path}, p.version...)...); err == nil {
				v, _, _ = strings.Cut(v, " (") // curl lists its libraries
				v, _, _ = strings.Cut(v, " built ")
				versions = append(versions, v)
			}
		}
	}
	if len(versions) > 0 {
		d.Version = strings.Join(versions, "; ")
	}
	return d
}

// hostPort is where a server listens.
func hostPort(h Host, port int) string {
	return net.JoinHostPort(h.Addr().String(), strconv.Itoa(port))
}
