package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/fanout"
)

// Each target has a line, which stays until all have ended.
func TestTargetBars(t *testing.T) {
	out, lines := &screen{}, &targetLines{}
	b := &lineBars{to: out, width: 200, bars: map[string]*lineBar{}}
	now := time.Now()
	east, north := lines.begin("east"), lines.begin("north")
	b.show(lines.bars(), now)
	b.show(lines.bars(), now.Add(patience))
	out.until(t, "east  ")
	out.until(t, "north ")
	out.until(t, " asks what it has")
	done := east("sync", 3<<20)
	done(1 << 20)
	north("sync", 10)(10)
	b.show(lines.bars(), now.Add(patience))
	out.until(t, " sync, 1.0 MiB of 3.0 MiB")
	out.until(t, " sync, 10 B of 10 B")
	lines.end(fanout.Result{Name: "north", Outcome: &fanout.Outcome{Generation: 7, Switched: true}})
	lines.end(fanout.Result{Name: "east", Outcome: &fanout.Outcome{}, Err: errors.New("cut")})
	b.show(lines.bars(), now.Add(patience))
	out.until(t, " generation 7")
	out.until(t, " failed")
	if lines.reset(); len(lines.bars()) != 0 {
		t.Error("there are lines after the end")
	}
	b.show(nil, now)
}

// Where nobody sees a bar, a line says how far each target is, if it went on.
func TestTargetLog(t *testing.T) {
	var out strings.Builder
	lines := &targetLines{}
	east, north := lines.begin("east"), lines.begin("north")
	lines.log(&out)
	stale := north("compare", 5)
	done := east("sync", 3<<20)
	north("sync", 2<<20)
	done(1 << 20)
	stale(5) // of a step that has ended
	lines.log(&out)
	lines.log(&out) // nothing new
	done(1 << 20)
	lines.end(fanout.Result{Name: "east", Outcome: &fanout.Outcome{}})
	lines.log(&out)
	if got := out.String(); got != "east: sync, 1.0 MiB of 3.0 MiB\n" {
		t.Errorf("%q", got)
	}
}
