package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/catalog"
)

// crowd is a store whose clock is that of a synctest bubble, and whose answers take time
// there: so many machines meet as they would, and nothing depends on this machine's speed.
type crowd struct {
	*buckettest.Memory
	mu    sync.Mutex
	start time.Time
	began time.Time
}

const answerTime = 30 * time.Millisecond

func newCrowd() *crowd {
	c := &crowd{Memory: newStore(), start: time.Now()}
	c.began = c.Now()
	c.Before = func(ctx context.Context, _ buckettest.Request) error { return c.wait(ctx, answerTime) }
	return c
}

// wait waits in the bubble, and sets the store's clock.
func (c *crowd) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if behind := time.Since(c.start) - c.Now().Sub(c.began); behind > 0 {
		c.Advance(behind)
	}
	return context.Cause(ctx)
}

func (c *crowd) machine(t *testing.T, who string) *machine {
	m := newMachine(t, c.Memory, who)
	m.wait = c.wait
	return m
}

// Sixty-four machines promote at once: all succeed, nothing is lost, each sends a few
// documents, and it takes some times what they take one after the other.
func TestSharedCrowd(t *testing.T) {
	for _, n := range []int{16, 64} {
		if n == 16 && !faults {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd()
			want, machines := map[string]string{}, []*machine{}
			for i := range n {
				m := c.machine(t, fmt.Sprint("m", i))
				name := fmt.Sprintf("p%d/1", i)
				m.put(map[string]string{name: fmt.Sprint("content ", i)})
				want[name] = fmt.Sprint("content ", i)
				machines = append(machines, m)
			}
			documents, requests, mu := 0, 0, sync.Mutex{}
			before := c.Before
			c.Before = func(ctx context.Context, r buckettest.Request) error {
				mu.Lock()
				if requests++; r.Op == "create" && strings.HasPrefix(r.Key, "_publish/files/") {
					documents++
				}
				mu.Unlock()
				return before(ctx, r)
			}
			begin := time.Now()
			var g errgroup.Group
			for _, m := range machines {
				r := m.repo()
				g.Go(func() error {
					_, err := r.Promote(ctx, PromoteOptions{})
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			took := time.Since(begin)
			if documents > 6*n { // 4 in the mean
				t.Errorf("%d machines sent %d documents", n, documents)
			}
			// A promote alone takes 8 requests. Sixteen take twice that, sixty-four three times.
			if alone := time.Duration(n) * 8 * answerTime; took > 5*alone {
				t.Errorf("%d promotes at once took %v; one after the other they take %v", n, took, alone)
			}
			t.Logf("%d at once: %v, %d requests, %d documents", n, took, requests, documents)
			machines[0].wantLive(want)
			if s, err := machines[0].repo().History(HistoryFilter{}); err != nil || len(s) != n {
				t.Errorf("%d lines, %v", len(s), err)
			}
		})
	}
}

// heldIndex is an index that a client has: what production named at a moment.
type heldIndex struct {
	until time.Time // for so faults all of it can be fetched
	named map[string]string
}

// Four machines collect beside others that take images away and bring them back as soon as
// they are condemned. A client that has an index of up to a window ago can fetch all of it,
// and what others put into the bucket stays as it is.
func TestSharedCollectsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd()
		rounds := 6
		if faults {
			rounds = 40
		}
		founder := c.machine(t, "founder")
		founder.put(map[string]string{"z/1": "for ever"})
		founder.promote()
		foreign := map[string][]byte{}
		for _, key := range []string{"images/theirs.bin", "_publish/files/" + sumOf("theirs"), "_publish/gc/theirs00",
			"index.html", "images/" + sumOf("content 0")[:16] + ".bin.old"} {
			foreign[key] = []byte("what others put at " + key)
			c.Set(key, foreign[key], "")
		}
		before := c.Before
		c.Before = func(ctx context.Context, r buckettest.Request) error {
			if r.Op == "delete" && !strings.HasPrefix(r.Key, "_publish/probe/") { // that is where what is condemned comes back
				return c.wait(ctx, 90*time.Second)
			}
			return before(ctx, r)
		}
		const grace = 20 * time.Minute
		short := func(m *machine) *machine {
			m.cfg = func(cfg *Config) { cfg.Grace = Duration(grace) }
			return m
		}
		watch := short(c.machine(t, "watch"))
		turn := make(chan struct{}, 1) // a mutex would stop the clock of the bubble
		var indexes []heldIndex
		var last string
		check := func() { // what production names now, and what it named
			turn <- struct{}{}
			defer func() { <-turn }()
			s, err := watch.repo().load(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			now := c.Now()
			if seen := fmt.Sprint(s.current.Generation); seen != last {
				for i := range indexes {
					if indexes[i].until.IsZero() {
						indexes[i].until = now.Add(grace - time.Minute) // it was switched after the last look
					}
				}
				last = seen
				indexes = append(indexes, heldIndex{named: namedBy(s.current)})
			}
			var open []heldIndex
			for _, h := range indexes {
				if !h.until.IsZero() && now.After(h.until) {
					continue
				}
				open = append(open, h)
				for key, sum := range h.named {
					if sumOf(string(c.Data(key))) != sum {
						t.Errorf("%s is not what an index names that is held until %v", key, h.until)
					}
				}
			}
			indexes = open
		}
		var g errgroup.Group
		done := make(chan struct{})
		for i := range 4 {
			m := short(c.machine(t, fmt.Sprint("gc", i)))
			g.Go(func() error {
				for {
					select {
					case <-done:
						return nil
					case <-time.After(time.Duration(i+1) * 50 * time.Second):
					}
					if _, err := m.repo().GC(ctx, false); err != nil {
						return fmt.Errorf("gc %d: %w", i, err)
					}
					check()
				}
			})
		}
		var waited atomic.Int32
		var p errgroup.Group
		for i := range 3 {
			m := short(c.machine(t, fmt.Sprint("m", i)))
			r := rand.New(rand.NewPCG(uint64(i), 1))
			p.Go(func() error {
				for round := range rounds {
					for {
						err := changes(m, fmt.Sprintf("p%d/1", i), fmt.Sprint("content ", i), round%2 == 0)
						if err == nil {
							break
						}
						if kindOf(err) != Locked { // else a gc deletes what it needs
							return fmt.Errorf("%s, round %d: %w", m.who, round, err)
						}
						waited.Add(1)
						time.Sleep(time.Minute)
					}
					check()
					if round%2 == 1 { // its window ends before it comes back
						time.Sleep(grace)
					}
					time.Sleep(time.Duration(r.IntN(300)) * time.Second)
				}
				return nil
			})
		}
		err := p.Wait()
		close(done)
		if err := errors.Join(err, g.Wait()); err != nil {
			t.Fatal(err)
		}
		check()
		if report, _, err := founder.repo().Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
			t.Errorf("%+v, %v", report, err)
		}
		time.Sleep(48 * time.Hour)
		if _, err := short(founder).repo().GCStrays(ctx, false); err != nil {
			t.Error(err)
		}
		for key, data := range foreign {
			if !bytes.Equal(c.Data(key), data) {
				t.Errorf("%s was %q, and is %q", key, data, c.Data(key))
			}
		}
		if waited.Load() == 0 {
			t.Error("no promote met a gc")
		}
		t.Logf("%d promotes waited for a gc", waited.Load())
	})
}

// namedBy are the keys and digests of what the index of a generation names.
func namedBy(g *generation.Tree) map[string]string {
	out := map[string]string{}
	for _, row := range g.Own {
		if row.Role == catalog.Content {
			out[row.Path] = row.SHA256
		}
	}
	return out
}

// changes promotes with an image more, or without it.
func changes(m *machine, name, content string, more bool) error {
	if _, _, err := m.repo().Reset(ctx); err != nil {
		return err
	}
	if more {
		m.stageAlso(map[string]string{name: content})
	} else if _, err := m.repo().Remove(ctx, name); err != nil {
		return err
	}
	_, err := m.repo().Promote(ctx, PromoteOptions{})
	return err
}

// Who finds that another machine was first has sent nothing in vain, and has fetched nothing that
// the next try has no use for.
func TestSharedLostBeforeSending(t *testing.T) {
	store := newStore()
	a, b := newMachine(t, store, "ada"), newMachine(t, store, "bob")
	a.put(map[string]string{"a/1": "one"})
	b.put(map[string]string{"b/1": "uno"})
	var list []string
	looks := 0
	store.Before = func(_ context.Context, r buckettest.Request) error {
		if r.Op == "get" && r.Key == "_publish/pointer.json" {
			if looks++; looks == 2 {
				was := store.Before
				store.Before = nil
				a.promote()
				store.Before = was
			}
		}
		list = append(list, r.Op+" "+r.Key)
		return nil
	}
	b.promote()
	store.Before = nil
	b.wantLive(map[string]string{"a/1": "one", "b/1": "uno"})
	text := strings.Join(list, "\n")
	before, after, _ := strings.Cut(text, "get _publish/pointer.json\nget _publish/pointer.json\n")
	if before != "" || !strings.HasPrefix(after, "get _publish/pointer.json\n") {
		t.Errorf("the first try asks for more than the pointer, twice:\n%s", text)
	}
	if n := strings.Count(text, "create _publish/files/"); n != 1 {
		t.Errorf("sends %d documents:\n%s", n, text)
	}
}

// Of a commit that lost its race nothing is left to be settled: the next try does not ask for it.
func TestSharedLostCommit(t *testing.T) {
	store := newStore()
	a, b := newMachine(t, store, "ada"), newMachine(t, store, "bob")
	a.put(map[string]string{"a/1": "one"})
	b.put(map[string]string{"b/1": "uno"})
	looks, lost := 0, false
	store.Before = func(_ context.Context, r buckettest.Request) error {
		switch {
		case r.Key != "_publish/pointer.json":
		case r.Op == "swap" && !lost:
			lost = true
			was := store.Before
			store.Before = nil
			a.promote()
			store.Before = was
		case r.Op == "get" && lost:
			if looks++; looks == 2 && !gone(b.repo().path(".publish", "commit")) {
				t.Error("the commit that lost is still noted")
			}
		}
		return nil
	}
	b.promote()
	store.Before = nil
	// One look says that it is lost; the next try begins with one, and looks once more before it sends.
	if looks != 3 {
		t.Errorf("looks %d times", looks)
	}
	b.wantLive(map[string]string{"a/1": "one", "b/1": "uno"})
}
