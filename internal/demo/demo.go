// Package demo shows what ropeway is for: it serves a real tree through a
// simulated bad link, syncs it, upgrades it, tells what the link did and what
// came of it, and verifies the result by itself. Everything happens in this
// process, on loopback addresses and in a private temporary directory.
package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ropeway/ropeway/internal/event"
	"github.com/ropeway/ropeway/internal/fault"
	"github.com/ropeway/ropeway/internal/fsys"
	"github.com/ropeway/ropeway/internal/job"
	"github.com/ropeway/ropeway/internal/lane"
	"github.com/ropeway/ropeway/internal/manifest"
	"github.com/ropeway/ropeway/internal/netsim"
)

// Options says what is shown. All fields but Quick, GoRoot and TempDir must be
// set; a link without loss or outage is allowed.
type Options struct {
	Size int64         // bytes of the archive, 16 KiB to 1 GiB
	Rate int64         // of the link, bytes per second
	RTT  time.Duration // of the link
	Loss float64       // share of packets that are lost, 0 to 0.5
	Cut  time.Duration // how long the link is dead
	Seed uint64        // of everything that is made up or left to chance

	Quick   bool                         // less of everything, in about 15 s
	GoRoot  func(context.Context) string // finds a Go toolchain; nil or "": none, the source code is made up
	TempDir string                       // where the temporary directory is made; "": the system's place
}

// What Quick reduces the options to, at most.
const (
	quickSize = 6_000_000 // bytes
	quickCut  = 2 * time.Second
)

// demo is one run.
type demo struct {
	o      Options
	report event.Func
	dir    string
	from   time.Time

	site     site
	link     *netsim.Link
	director director
	rounds   []round
	proof    proof
}

// round is one sync and what it took.
type round struct {
	name  string
	sum   event.Summary
	setup int64 // bytes of TCP payload until connections could be used: TLS
	need  int64 // bytes that had to come
	lanes int   // connections that were made
	cut   int   // answers with content that ended short
}

// Run shows everything and returns nil only if each sync ended well and was
// verified: a difference is an Integrity fault. When ctx ends it returns soon.
// The temporary directory is gone when it returns.
//
// report receives the events of each sync, from Start on, the narration as
// Notes, and at the end one Summary of all syncs.
func Run(ctx context.Context, o Options, report event.Func) (err error) {
	if o.Quick {
		o.Size, o.Cut = min(o.Size, quickSize), min(o.Cut, quickCut)
	}
	if err := o.check(); err != nil {
		return err
	}
	d := &demo{o: o, report: report, from: time.Now()}
	if d.dir, err = os.MkdirTemp(o.TempDir, "ropeway-demo-"); err != nil {
		return noSpace(err)
	}
	defer func() {
		if e := os.RemoveAll(d.dir); e != nil && err == nil {
			err = fault.Wrap(fault.Other, e, "", "cannot remove the temporary directory")
		}
	}()
	return d.run(ctx)
}

func (o *Options) check() error {
	switch {
	case o.Size < minJar || o.Size > maxJar:
		return fault.New(fault.Usage, "", "the archive must have from %d bytes to %d", minJar, maxJar)
	case o.Rate < 1000:
		return fault.New(fault.Usage, "", "a link of %d bytes per second takes too long", o.Rate)
	case o.RTT < 0 || o.Cut < 0 || !(o.Loss >= 0 && o.Loss <= .5):
		return fault.New(fault.Usage, "", "there is no such link")
	}
	return nil
}

// code bounds the source tree.
func (o *Options) code() bounds {
	if o.Quick {
		return bounds{files: 600, bytes: 2e6, file: 64 << 10}
	}
	return bounds{files: 4000, bytes: 24e6, file: 192 << 10}
}

// room is how much the demonstration takes on the disk: the archive at the
// source, at the destination, and while it is replaced; the source code; what
// the server keeps: all of it, as far as its history has room.
func (o *Options) room() int64 { return 5*o.Size + 5*o.code().bytes + 8e6 }

func (d *demo) run(ctx context.Context) error {
	source, dest := filepath.Join(d.dir, "source"), filepath.Join(d.dir, "dest")
	if err := d.enough(); err != nil {
		return err
	}
	d.say("demo", fmt.Sprintf("all of this happens in this process and in %s: at most %s, removed at the end", d.dir, amount(d.o.room())))
	goroot := ""
	if d.o.GoRoot != nil {
		goroot = d.o.GoRoot(ctx)
	}
	j := jar{size: d.o.Size, seed: d.o.Seed, version: 1}
	what, err := release(ctx, source, j, d.o.code(), goroot)
	if err != nil {
		return err
	}
	d.say("source", fmt.Sprintf("version 1: %s, an archive of %s bytes, and in %s/ %s", jarName, commas(j.size), codeDir, what))

	d.site = site{root: source, state: filepath.Join(d.dir, "server"), warn: func(w event.Warn) { d.report(w) }, kept: make(chan int64, 1)}
	if err := d.site.start(ctx); err != nil {
		return err
	}
	defer d.site.stop()
	stop, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer stop()

	if err := d.sync(ctx, "version 1", source, dest, d.firstScript()); err != nil {
		return err
	}
	d.remembered(ctx)
	c, err := upgrade(ctx, source, j)
	if err != nil {
		return err
	}
	d.say("source", "version 2: "+c.String()+"; the archive is built anew")
	if err := d.sync(ctx, "version 2", source, dest, d.secondScript()); err != nil {
		return err
	}
	if err := d.sync(ctx, "no change", source, dest, nil); err != nil {
		return err
	}
	last := &d.rounds[len(d.rounds)-1]
	d.say("ropeway", fmt.Sprintf("asked and was answered in %s, after %s to set up an encrypted connection",
		amount(last.sum.WireIn+last.sum.WireOut-last.setup), amount(last.setup)))
	stop()
	d.site.stop() // now all answers have ended, and are counted
	d.table(c)
	d.report(d.total())
	return nil
}

// remembered waits until the server has kept the first version, as any server
// has by the time that there is a second.
func (d *demo) remembered(ctx context.Context) {
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case n := <-d.site.kept:
		d.say("server", fmt.Sprintf("keeps %s of what it has served, to tell the next version as what differs", amount(n)))
	case <-timer.C:
	case <-ctx.Done():
	}
}

// enough makes sure that there is room, where the system says how much.
func (d *demo) enough() error {
	dir, err := fsys.OpenDir(d.dir)
	if err != nil {
		return noSpace(err)
	}
	defer func() { _ = dir.Close() }()
	free, _, err := dir.Free()
	if err == nil && free > 0 && free < uint64(d.o.room()) {
		return fault.New(fault.Limit, "set TMPDIR to a directory with room, or use --quick",
			"%s are needed below %s, and %s are free", amount(d.o.room()), filepath.Dir(d.dir), amount(int64(free)))
	}
	return nil
}

// connect puts the bad link between the client and the server.
func (d *demo) connect(ctx context.Context) (stop func(), err error) {
	p := netsim.Params{Delay: d.o.RTT / 2, Rate: 8 * d.o.Rate, Loss: d.o.Loss}
	d.link = netsim.New(p, p, d.o.Seed)
	d.link.KillEvery(d.killEvery())
	d.director = director{link: d.link, say: d.say}
	ctx, cancel := context.WithCancel(ctx)
	proxy, err := netsim.Proxy(ctx, "127.0.0.1:0", d.site.addr, d.link)
	if err != nil {
		cancel()
		return nil, err
	}
	if err := d.site.via(proxy.Addr()); err != nil {
		cancel()
		return nil, err
	}
	d.say("link", fmt.Sprintf("%.0f Mbit/s, %v there and back, %.3g %% of packets lost, each connection reset after %s",
		float64(d.o.Rate)*8/1e6, d.o.RTT, d.o.Loss*100, amount(d.killEvery())))
	return func() {
		cancel()
		proxy.Wait()
	}, nil
}

// killEvery is how many bytes a connection carries before it is reset.
func (d *demo) killEvery() int64 { return max(d.o.Size/8, 1e6) }

// sync syncs once while the script is played, and verifies the result.
func (d *demo) sync(ctx context.Context, name, source, dest string, script []step) error {
	d.say("ropeway", "syncs "+name)
	d.report(event.Start{Verb: "sync", Source: d.site.url.Redacted(), Destination: dest})
	r := round{name: name}
	dialer := &lane.Dialer{Endpoint: d.site.url}
	dials := make(chan int64, 1024)
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pctx, ended := context.WithCancel(sctx)
	played := make(chan struct{})
	go func() {
		defer close(played)
		if err := d.director.play(pctx, script); err != nil {
			cancel(err)
		}
	}()
	sum, err := job.Run(sctx, job.Options{
		Dial: func(ctx context.Context) (*lane.Conn, error) {
			c, err := dialer.Dial(ctx)
			if err == nil {
				select {
				case dials <- c.In() + c.Out():
				default:
				}
			}
			return c, err
		},
		Module: module, From: d.site.url.Redacted(), Dest: dest,
		Mask:      manifest.Perm | manifest.Times | manifest.Owner | manifest.Group | manifest.Links,
		Recursive: true, Delete: true, MaxDelete: -1, Holder: "ropeway demo",
		Timeout: 2*time.Minute + 2*d.o.Cut, ConnectTimeout: time.Minute, Events: d.report,
	})
	ended()
	<-played
	if err != nil {
		return err
	}
	if !d.site.running() { // the sync ended while it was being restarted
		if err := d.site.start(ctx); err != nil {
			return err
		}
	}
	for range len(dials) {
		r.lanes++
		r.setup += <-dials
	}
	r.sum = *sum
	v := d.site.take()
	if r.need, err = d.site.weigh(ctx, v, d.o.Size); err != nil {
		return err
	}
	r.cut = v.cut
	d.rounds = append(d.rounds, r)
	d.say("ropeway", fmt.Sprintf("done in %s: %s received, %s sent", brief(sum.Elapsed), amount(sum.WireIn), amount(sum.WireOut)))
	if d.proof, err = identical(ctx, source, dest); err != nil {
		return err
	}
	d.say("check", "identical by SHA-256, modes and times: "+d.proof.String())
	return nil
}

func (d *demo) say(who, text string) {
	d.note("%5.1f s  %-8s %s", time.Since(d.from).Seconds(), who, text)
}

func (d *demo) note(format string, args ...any) {
	d.report(event.Note{Text: fmt.Sprintf(format, args...)})
}
