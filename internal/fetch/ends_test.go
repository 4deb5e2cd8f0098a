package fetch

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowConnect checks that a link on which a connection takes longer than
// the usual limit of a dial is still used.
func TestSlowConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(2500*ms, 1e6) // 5 s for TCP and TLS
		b := newBench(t, n, Config{ConnectTimeout: time.Minute})
		start := time.Now()
		b.add(1 << 20)
		b.finish()
		if took := time.Since(start); took > time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

// TestSilentLaneIsRobbed checks that what a silent lane owes is taken over
// where it is too much to be asked for twice at the tail.
func TestSilentLaneIsRobbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(500*ms, 20e6)
		n.onLane = func(k int, l *fakeLane) {
			if k == 2 {
				l.silentAt = 200
			}
		}
		b := newBench(t, n, Config{Lanes: 2})
		start := time.Now()
		for range 80 {
			b.add(1 << 20)
		}
		b.finish()
		// The lane is silent after 3 s and suspect after 4 more; it is closed at 13 s.
		if took := time.Since(start); took > 11*time.Second || b.pool.stolen == 0 {
			t.Errorf("took %v, %d bytes were stolen", took, b.pool.stolen)
		}
	})
}

// TestDialsAreRaced checks that a lost packet in a handshake does not cost the
// second that TCP takes to send it again.
func TestDialsAreRaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(40*ms, 4e6)
		n.onDial = func(k int) error {
			if k%2 == 1 {
				time.Sleep(time.Second)
			}
			return nil
		}
		b := newBench(t, n, Config{Lanes: 8})
		start := time.Now()
		if err := b.pool.Do(t.Context(), "plan", func(context.Context, Lane, func()) error { return nil }); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 700*ms {
			t.Errorf("the first lane took %v", took)
		}
		b.add(20 << 20)
		time.Sleep(3 * time.Second)
		if d := len(n.up()); d != 8 {
			t.Errorf("%d lanes", d)
		}
		b.finish()
	})
}

// TestDialThatNeverAnswers checks that a single dial does not hold a job up.
func TestDialThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(20*ms, 1e6)
		n.down = true
		b := newBench(t, n, Config{})
		b.add(1 << 20)
		time.Sleep(time.Second)
		n.setDown(false) // the first dials stay unanswered
		b.finish()
		b.pool.mu.Lock()
		defer b.pool.mu.Unlock()
		if b.pool.dial.running != 0 {
			t.Errorf("%d dials still run", b.pool.dial.running)
		}
	})
}

// deaf is a lane whose Get ends for no reason but its own.
type deaf struct {
	*fakeLane
	free chan struct{}
}

func (d deaf) Get(context.Context, Request, func(int, []byte) error) error {
	<-d.free
	return errShort
}

type deafDialer struct {
	n    *network
	free chan struct{}
}

func (d deafDialer) Dial(ctx context.Context) (Lane, error) {
	l, err := d.n.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return deaf{l.(*fakeLane), d.free}, nil
}

func TestRunEndsAlthoughALaneIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(20*ms, 1e6)
		d := deafDialer{n, make(chan struct{})}
		p := New(Config{Timeout: time.Minute}, Source{Dialer: d})
		var done atomic.Int32
		b := &bench{t: t, net: n, rnd: newBenchRand()}
		data, o := b.object(1 << 20)
		task := b.task(data, o, nil)
		task.Done = func(error) { done.Add(1) }
		start := time.Now()
		if err := p.Add(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); err == nil {
			t.Error("ended well")
		}
		if d := time.Since(start); d > time.Minute+endGrace+time.Second || done.Load() != 1 {
			t.Errorf("ended after %v, Done was called %d times", d, done.Load())
		}
		close(d.free)
		synctest.Wait()
		if done.Load() != 1 {
			t.Error("Done was called again")
		}
	})
}

func TestRunEndsAlthoughAWriteHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(20*ms, 1e6)
		b := newBench(t, n, Config{Timeout: time.Minute})
		data, o := b.object(1 << 20)
		task := b.task(data, o, nil)
		hang := make(chan struct{})
		task.Write = func(int, []byte) error { <-hang; return nil }
		if err := b.pool.Add(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if b.tasks[0].done != 0 {
			t.Error("ended while this side was the slow one")
		}
		start := time.Now()
		b.cancel()
		if err := <-b.ran; err != nil || time.Since(start) > endGrace {
			t.Errorf("Run: %v after %v", err, time.Since(start))
		}
		close(hang)
		synctest.Wait()
		if b.tasks[0].done != 1 {
			t.Errorf("Done was called %d times", b.tasks[0].done)
		}
	})
}

// TestIdleFollowsDone checks that Idle returns only after Done has.
func TestIdleFollowsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newNetwork(20*ms, 1e6), Config{})
		data, o := b.object(1000)
		task := b.task(data, o, nil)
		inner := task.Done
		task.Done = func(err error) { time.Sleep(time.Second); inner(err) }
		if err := b.pool.Add(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		b.finish()
	})
}
