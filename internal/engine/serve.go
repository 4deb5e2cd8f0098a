package engine

import (
	"context"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/ropeway/ropeway/internal/cli"
	"github.com/ropeway/ropeway/internal/config"
	"github.com/ropeway/ropeway/internal/server"
)

// Serve implements cli.Engine.
func (e *Engine) Serve(ctx context.Context, o cli.ServeOptions, hooks cli.ServeHooks) error {
	root := o.Root
	if !filepath.IsAbs(root) {
		root = filepath.Join(o.Dir, root)
	}
	root = filepath.Clean(root)
	name := o.Name
	if name == "" {
		name = moduleName(filepath.Base(root))
	}
	cfg := server.Config{StateDir: o.StateDir, Getenv: e.getenv, NewPusher: newPusher}
	cfg.Ephemeral = o.Ephemeral
	cfg.Store.HistoryBytes = o.History
	for _, dir := range o.Bases {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(o.Dir, dir)
		}
		cfg.Bases = append(cfg.Bases, dir)
	}
	cfg.Modules = []config.Module{{Name: name, Path: root, Writable: o.Writable}}
	if o.Listen != cli.DefaultListen {
		cfg.Listen = []string{o.Listen}
	}
	if o.Advertise != "" {
		cfg.Advertise = []string{o.Advertise}
	}
	cfg.Warn = hooks.Warn
	cfg.Ready = func(r server.Ready) {
		m := r.Modules[0]
		hooks.Ready(cli.Ready{
			Module: m.Name, Root: m.Root, Addrs: r.Addrs, URLs: m.URLs, Pin: r.Pin, Writable: m.Writable, Commands: m.Commands,
		})
	}
	cfg.Access = func(a server.Access) {
		hooks.Access(cli.Access{
			Time: a.Time, Remote: a.Remote, User: a.User, Method: a.Method, Path: a.Path, Status: a.Status,
			Bytes: a.Bytes, Elapsed: a.Elapsed, Outcome: a.Outcome, Cause: a.Cause, Module: a.Module, Route: a.Route,
		})
	}
	if e.getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryGoal)
	}
	return server.Run(ctx, cfg)
}

// memoryGoal is how many bytes of memory a server may use before it collects
// garbage more eagerly than it otherwise would. It is no limit.
const memoryGoal = 200 << 20

// moduleName makes a module's name of a directory's.
func moduleName(base string) string {
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, base)
	name = strings.TrimLeft(name, ".-")
	if name = name[:min(len(name), 64)]; name == "" {
		return "root"
	}
	return name
}
