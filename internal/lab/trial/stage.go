package trial

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ropeway/ropeway/internal/fault"
)

// stage is where one run plays: two hosts, a directory of its own, a server.
type stage struct {
	a, b    Host
	dir     string // logs, configuration; src and dst are in it or beside it
	payload *payload
	src     string // what is sent, on whichever host
	dst     string // where it shall go, on the other
	push    bool
	loud    bool // tools tell how it goes

	url    string // for the client, once a server is ready
	log    string // of the server, as the server itself writes it
	server *process
	extra  []string // lines for the server's configuration
}

// newStage makes the directory of a run. What an upgrade begins with is there.
func newStage(ctx context.Context, a, b Host, dir string, p *payload, push bool) (*stage, error) {
	s := &stage{a: a, b: b, dir: dir, payload: p, src: p.dir, dst: filepath.Join(dir, "dst"), push: push}
	err := os.MkdirAll(s.dst, 0o755)
	if err == nil && p.old != "" {
		err = copyTree(ctx, p.old, s.dst)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Other, err, "give another place with --dir", "the run has no place")
	}
	return s, nil
}

// served is the directory that the server on host a offers.
func (s *stage) served() string {
	if s.push {
		return s.dst
	}
	return s.src
}

// close ends the server.
func (s *stage) close() {
	if s.server != nil {
		s.server.kill()
	}
}

// run starts the server and waits until it accepts connections.
func (s *stage) run(ctx context.Context, c command, check func(pid int) bool) error {
	p, err := start(s.a, c, filepath.Join(s.dir, "server.out"))
	if err != nil {
		return err
	}
	s.server = p
	return p.ready(ctx, func() bool { return check(p.cmd.Process.Pid) })
}

// serveRsync starts rsync's daemon.
func (s *stage) serveRsync(ctx context.Context) error {
	path, err := rsyncProgram.find()
	if err != nil {
		return fault.New(fault.NotFound, "", "%v", err)
	}
	s.log = filepath.Join(s.dir, "rsyncd.log")
	conf := filepath.Join(s.dir, "rsyncd.conf")
	text := fmt.Sprintf("use chroot = no\nlog file = %s\nlock file = %s\nreverse lookup = no\nuid = 0\ngid = 0\n%s\n[m]\npath = %s\nread only = no\n",
		s.log, filepath.Join(s.dir, "rsyncd.lock"), strings.Join(s.extra, "\n"), s.served())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return fault.Wrap(fault.Other, err, "", "rsync's configuration")
	}
	s.url = fmt.Sprintf("rsync://%s/m/", hostPort(s.a, rsyncPort))
	argv := []string{path, "--daemon", "--no-detach", "--config=" + conf, "--address=" + s.a.Addr().String(), fmt.Sprintf("--port=%d", rsyncPort)}
	return s.run(ctx, command{argv: argv}, func(pid int) bool { return listening(pid, rsyncPort) })
}

// serveNginx starts a web server on the payload, with its usual settings.
func serveNginx(ctx context.Context, s *stage) error {
	path, err := nginxProgram.find()
	if err != nil {
		return fault.New(fault.NotFound, "", "%v", err)
	}
	s.log = filepath.Join(s.dir, "nginx.log")
	user := ""
	switch {
	case oneUser():
		user = "master_process off;\n" // it does not try to change users
	case isRoot():
		user = "user root;\n" // it reads directories that are ours alone
	}
	temp := ""
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("  %s_temp_path %s;\n", what, filepath.Join(s.dir, "nginx-"+what))
	}
	text := fmt.Sprintf(`%sworker_processes 1;
daemon off;
pid %s;
error_log %s;
events { worker_connections 512; }
http {
  access_log off;
  sendfile on;
%s  server {
    listen %s;
    root %s;
    autoindex on;
  }
}
`, user, filepath.Join(s.dir, "nginx.pid"), s.log, temp, hostPort(s.a, nginxPort), s.served())
	conf := filepath.Join(s.dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return fault.Wrap(fault.Other, err, "", "nginx's configuration")
	}
	s.url = fmt.Sprintf("http://%s/", hostPort(s.a, nginxPort))
	argv := []string{path, "-p", s.dir, "-e", s.log, "-c", conf}
	return s.run(ctx, command{argv: argv, dir: s.dir}, func(pid int) bool { return listening(pid, nginxPort) })
}

// ropewayFlags are those of our client.
func (s *stage) ropewayFlags() string {
	if s.loud {
		return "-avP"
	}
	return "-a"
}

// serveRopeway starts our server.
func (s *stage) serveRopeway(ctx context.Context, self string, writable bool) error {
	ready := filepath.Join(s.dir, "ropeway.url")
	argv := []string{self, "serve", "--ephemeral", "--name=m", "--listen=" + hostPort(s.a, ropewayPort), "--ready-file=" + ready}
	if writable {
		argv = append(argv, "--writable")
	}
	s.log = filepath.Join(s.dir, "server.out")
	return s.run(ctx, command{argv: append(argv, s.served())}, func(int) bool {
		url := strings.TrimSpace(tail(ready))
		s.url = url
		return url != ""
	})
}
