package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish/mirror"
)

// screen collects what is drawn.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// until waits until something is drawn, however long that takes: what is drawn stays.
func (s *screen) until(t *testing.T, text string) {
	t.Helper()
	t.Logf("waits for %q", text)
	for !strings.Contains(s.String(), text) {
		time.Sleep(time.Millisecond)
	}
}

func TestJobBars(t *testing.T) {
	out := &screen{}
	b := &lineBars{to: out, width: 200, bars: map[string]*lineBar{}}
	now := time.Now()
	job := func(id, name string) mirror.Job {
		return mirror.Job{ID: id, Want: mirror.Want{Canonical: name}, Phase: mirror.Resolving}
	}
	one, two := job("a", "hub.example.com/acme/app:v1"), job("b", "hub.example.com/"+strings.Repeat("x", 60)+"\x1b[31m:v2")
	b.show(jobLines([]mirror.Job{one, two}), now)
	fmt.Fprintln(b, "begun")
	if b.all != nil || out.String() != "begun\n" {
		t.Errorf("at once there is %q", out)
	}
	b.show(jobLines([]mirror.Job{one, two}), now.Add(patience))
	out.until(t, "acme/app:v1 ")
	out.until(t, `xxx\x1b[31m:v2 `)
	out.until(t, " resolving")
	one.Phase, one.BytesTotal, one.BytesDone = mirror.Copying, 3<<20, 1<<20
	two.BytesTotal, two.BytesDone = 10, 10
	b.show(jobLines([]mirror.Job{one, two}), now.Add(patience))
	out.until(t, " copying, 1.0 MiB of 3.0 MiB")
	fmt.Fprintln(b, "staged")
	out.until(t, "staged\n")
	b.show(jobLines([]mirror.Job{two}), now.Add(patience))
	if len(b.bars) != 1 || b.all == nil {
		t.Errorf("of one that runs there are %d bars", len(b.bars))
	}
	b.show(nil, now.Add(patience))
	if len(b.bars) != 0 || b.all != nil {
		t.Errorf("when nothing runs there are %d bars", len(b.bars))
	}
	before := out.String()
	fmt.Fprintln(b, "1 job staged")
	if out.String() != before+"1 job staged\n" || strings.Contains(before, "\x1b[31m") {
		t.Errorf("then there is %q", out)
	}
	// All bars of one that ended at once, with a line that was written last.
	b.show(jobLines([]mirror.Job{one}), now)
	b.show(jobLines([]mirror.Job{one}), now.Add(patience))
	fmt.Fprintln(b, "the last line")
	b.show(nil, now)
	if !strings.Contains(out.String(), "the last line\n") {
		t.Errorf("a line is lost: %q", out)
	}
}
