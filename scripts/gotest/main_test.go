package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const stream = `# p/broken
{"ImportPath":"p/broken","Action":"build-output","Output":"broken.go:1: syntax error\n"}
{"Action":"start","Package":"p/a"}
{"Action":"run","Package":"p/a","Test":"TestGood"}
{"Action":"output","Package":"p/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p/a","Test":"TestGood","Output":"what it says\n"}
{"Action":"pass","Package":"p/a","Test":"TestGood"}
{"Action":"run","Package":"p/a","Test":"TestSkipped"}
{"Action":"output","Package":"p/a","Test":"TestSkipped","Output":"    a_test.go:7: tool is missing: install it\n"}
{"Action":"output","Package":"p/a","Test":"TestSkipped","Output":"--- SKIP: TestSkipped (0.00s)\n"}
{"Action":"skip","Package":"p/a","Test":"TestSkipped"}
{"Action":"run","Package":"p/a","Test":"TestBad"}
{"Action":"output","Package":"p/a","Test":"TestBad","Output":"    a_test.go:9: wrong\n"}
{"Action":"output","Package":"p/a","Test":"TestBad","Output":"--- FAIL: TestBad (0.01s)\n"}
{"Action":"fail","Package":"p/a","Test":"TestBad"}
{"Action":"run","Package":"p/a","Test":"TestHangs"}
{"Action":"output","Package":"p/a","Test":"TestHangs","Output":"panic: test timed out\n"}
tick
{"Action":"output","Package":"p/a","Output":"FAIL\tp/a\t1.2s\n"}
{"Action":"fail","Package":"p/a"}
tick
tick
{"Action":"output","Package":"p/b","Output":"PASS\n"}
{"Action":"output","Package":"p/b","Output":"ok  \tp/b\t0.1s\n"}
{"Action":"pass","Package":"p/b"}
`

// follow gives a report the lines of a stream; "tick" is one of the clock.
func follow(r *report, stream string) string {
	var out strings.Builder
	r.to, r.packages = &out, map[string]*pkg{}
	told, ticks := make(chan event), make(chan time.Time)
	done := make(chan struct{})
	go func() {
		r.follow(told, ticks)
		close(done)
	}()
	for line := range strings.Lines(stream) {
		if line == "tick\n" {
			ticks <- r.start.Add(90 * time.Second)
			continue
		}
		for e := range events(strings.NewReader(line)) {
			told <- e
		}
	}
	close(told)
	<-done
	return out.String()
}

func TestReport(t *testing.T) {
	want := `# p/broken
broken.go:1: syntax error
    a_test.go:9: wrong
--- FAIL: TestBad (0.01s)
panic: test timed out
FAIL	p/a	1.2s
  1m30s: packages done: 1; at work: go builds the tests
ok  	p/b	0.1s
skipped: p/a TestSkipped: tool is missing: install it
`
	if diff := cmp.Diff(want, follow(&report{}, stream)); diff != "" {
		t.Error(diff)
	}
}

// A tick after which nothing was printed says what is at work.
func TestAtWork(t *testing.T) {
	begun := `{"Action":"start","Package":"p/a"}
{"Action":"run","Package":"p/a","Test":"TestGood"}
{"Action":"run","Package":"p/a","Test":"TestGood/part"}
{"Action":"start","Package":"p/b"}
tick
{"Action":"pass","Package":"p/a","Test":"TestGood/part"}
tick
`
	want := `  1m30s: packages done: 0; at work: p/a TestGood/part, p/b
  1m30s: packages done: 0; at work: p/a TestGood, p/b
`
	if diff := cmp.Diff(want, follow(&report{}, begun)); diff != "" {
		t.Error(diff)
	}
}

func TestVerbose(t *testing.T) {
	out := follow(&report{verbose: true}, stream)
	for line, times := range map[string]int{"what it says\n": 1, "=== RUN": 0, "wrong\n": 1, "ok  \tp/b": 1} {
		if n := strings.Count(out, line); n != times {
			t.Errorf("%q is printed %d times:\n%s", line, n, out)
		}
	}
}

// The exit status is that of go test.
func TestRun(t *testing.T) {
	for status, args := range map[int][]string{0: {"-run", "^TestVerbose$", "."}, 1: {"./no/such/package"}} {
		if got, err := run(args, io.Discard, io.Discard); got != status || err != nil {
			t.Errorf("%v: %d, %v", args, got, err)
		}
	}
}
