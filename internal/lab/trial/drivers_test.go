package trial

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ropeway/ropeway/internal/lab/report"
	"github.com/ropeway/ropeway/internal/link"
)

// here is this machine as a host: both ends of a run on loopback.
type here struct{ name string }

func (h here) Name() string     { return h.name }
func (h here) Addr() netip.Addr { return netip.MustParseAddr("127.0.0.1") }
func (h here) Command(ctx context.Context, name string, arg ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, arg...)
}
func (h here) Start(cmd *exec.Cmd) error { return cmd.Start() }

// loopback is a network without a link.
type loopback struct{}

func (loopback) hosts() (a, b Host)                          { return here{"a"}, here{"b"} }
func (loopback) counters() (c link.Counters)                 { return c }
func (loopback) late() (late, packets int64)                 { return 0, 0 }
func (loopback) schedule(...link.Event)                      {}
func (loopback) close() error                                { return nil }
func openLoopback(context.Context, setting) (network, error) { return loopback{}, nil }

// built is our program, made when it is first needed.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(code)
}

// self is the path of our program.
func self(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "ropeway-trial-"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "ropeway"), "../../../cmd/ropeway").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "ropeway")
}

// TestDrivers has every tool move what it can over loopback.
func TestDrivers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("servers are found by /proc/net/tcp")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	p := &payloads{dir: dir, made: map[string]*payload{}}
	for _, tool := range tools(self(t)) {
		for _, name := range []string{Small, "tree", Upgrade} {
			t.Run(tool.name+"/"+name, func(t *testing.T) {
				if why := tool.missing(); why != "" {
					t.Skip(why)
				}
				tool.set = nil // of this machine, here
				if why := tool.cannot(name); why != "" {
					t.Skip(why)
				}
				if name == "tree" && p.made[name] == nil {
					m := &maker{ctx: ctx, rnd: newRand(name)}
					x := &payload{name: name, dir: filepath.Join(dir, "tree")}
					m.tree(x.dir, 150, 1000)
					if m.err != nil {
						t.Fatal(m.err)
					}
					if err := x.list(); err != nil {
						t.Fatal(err)
					}
					p.made[name] = x
				}
				x, err := p.get(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				r := &run{tool: &tool, payload: x, bound: 20 * time.Second, dir: filepath.Join(dir, tool.name+"-"+name)}
				res, err := r.do(ctx, openLoopback)
				if err != nil {
					t.Fatal(err)
				}
				if res.Outcome != report.OK {
					t.Errorf("%+v", res)
					log, _ := os.ReadFile(filepath.Join(r.dir, "client.out"))
					t.Logf("%s", log)
				}
			})
		}
	}
}
