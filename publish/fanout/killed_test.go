package fanout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/plain"
)

// killEnv is when a process at the other end of ssh dies: 1 is before its first message, 2
// after it, and so on.
const killEnv = "PUBLISH_TEST_KILL"

// mortal is an output whose process dies; see killEnv.
type mortal struct {
	io.Writer
	at, n int
}

func (m *mortal) Write(p []byte) (int, error) {
	die := func() {
		if m.n++; m.n == m.at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	die()
	n, err := m.Writer.Write(p)
	die()
	return n, err
}

// output is the standard output of the process at the other end of ssh.
func output() io.Writer {
	at, _ := strconv.Atoi(os.Getenv(killEnv))
	return &mortal{Writer: os.Stdout, at: at}
}

// The process at the other end of ssh is killed before and after each of its messages: that
// it is there, what it has, what it lacks, that it is done. The target has the old generation
// or the new one, and the next sync goes on.
func TestSSHKilled(t *testing.T) {
	base := sshd(t)
	points := []int{3, 6} // a connection takes a second of a processor
	if os.Getenv("PUBLISH_TEST_FAULTS") != "" {
		points = []int{1, 2, 3, 4, 5, 6, 7, 8}
	}
	for _, at := range points {
		target := filepath.Join(t.TempDir(), "eu")
		lead := newLead(t, map[string]string{"eu": target})
		sync := func(to string) Result {
			t.Helper()
			if err := os.WriteFile(filepath.Join(lead.Dir, publish.ConfigName), fmt.Appendf(nil, "targets: {eu: {to: %q}}\n",
				to), 0o644); err != nil {
				t.Fatal(err)
			}
			lead = must(open(lead.Dir))(t)
			_, list, err := Sync(ctx, lead, nil, Options{Host: host, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			return list[0]
		}
		promote(t, lead, old)
		if res := sync(target); res.Err != nil {
			t.Fatal(res.Err)
		}
		promote(t, lead, next)
		if err := os.WriteFile(target+".kill", []byte(strconv.Itoa(at)), 0o644); err != nil {
			t.Fatal(err)
		}
		res := sync(base + target)
		if all := at == 8; (res.Err == nil) != all { // it has said all
			t.Fatalf("message %d: %+v", at, res)
		}
		if at > 2 && at < 8 && !strings.Contains(res.Err.Error(), "the target broke off") {
			t.Fatalf("message %d: %v", at, res.Err)
		}
		if n, files := production(t, target); fmt.Sprint(files) != fmt.Sprint(
			map[int]map[string]string{1: old, 2: next}[n]) || n != 1 && at < 7 {
			t.Fatalf("message %d: generation %d, %v", at, n, files)
		}
		if res := sync(target); res.Err != nil || res.Generation != 2 {
			t.Fatalf("message %d: %+v", at, res)
		}
		same(t, lead, target)
		if list, err := must(open(target))(t).History(publish.HistoryFilter{}); err != nil || len(list) != 2 {
			t.Fatalf("message %d: %v, %v", at, list, err)
		}
	}
}

// stored makes a repository whose production is in a store.
func stored(t *testing.T, store bucket.Store, target string) *publish.Repo {
	t.Helper()
	c := choices
	c.Store = func(string, *publish.Config) (bucket.Store, error) { return store, nil }
	dir := filepath.Join(t.TempDir(), "lead")
	text := fmt.Sprintf("format: plain\nproduction: s3://images/p\ns3: {readers: serve}\ntargets: {eu: {to: %q}}\n",
		target)
	if err := errors.Join(os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(dir, publish.ConfigName), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := publish.Init(dir, c, publish.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	conf := must(publish.LoadConfig(dir, c))(t)
	return must(publish.Open(dir, conf, plain.Format{}, choices.Sites, publish.Options{Store: c.Store,
		Now: func() time.Time { return epoch }, Who: "tester", Targets: StateOf}))(t)
}

// Production is in a store: whatever becomes of its requests, the target has the old
// generation or the new one, and the next sync goes on.
func TestStoreOfTheLeader(t *testing.T) {
	// A store has no links, and what staging there lacks is not removed.
	old, next := maps.Clone(old), maps.Clone(next)
	delete(old, "l")
	delete(next, "l")
	maps.Copy(next, old)
	for name, fault := range map[string]buckettest.Fault{"never sent": buckettest.NeverSent, "killed": buckettest.None} {
		t.Run(name, func(t *testing.T) {
			for at := 1; ; at++ {
				store := buckettest.New(epoch)
				target := filepath.Join(t.TempDir(), "eu")
				lead := stored(t, store, target)
				opt := Options{Host: host, Now: time.Now}
				promote(t, lead, old)
				if _, list, err := Sync(ctx, lead, nil, opt); err != nil || list[0].Err != nil {
					t.Fatalf("%+v, %v", list, err)
				}
				promote(t, lead, next)
				// Another process than that which promoted: it knows nothing.
				if err := os.RemoveAll(filepath.Join(lead.Dir, ".publish", "bucket")); err != nil {
					t.Fatal(err)
				}
				lead = reopened(t, lead, store)
				var n atomic.Int32
				var hit atomic.Bool
				store.Fault = func(buckettest.Request) buckettest.Fault {
					if int(n.Add(1)) == at {
						hit.Store(true)
						return fault
					}
					return buckettest.None
				}
				limited, cancel := context.WithCancel(ctx)
				store.Before = func(context.Context, buckettest.Request) error {
					if fault == buckettest.None && int(n.Load())+1 == at {
						hit.Store(true)
						cancel()
						return context.Canceled
					}
					return nil
				}
				_, list, err := Sync(limited, lead, nil, opt)
				cancel()
				store.Fault, store.Before = nil, nil
				failed := err != nil || list[0].Err != nil
				if fault == buckettest.NeverSent && failed {
					t.Fatalf("request %d: %+v, %v", at, list, err)
				}
				if n, files := production(t, target); fmt.Sprint(files) != fmt.Sprint(
					map[int]map[string]string{1: old, 2: next}[n]) {
					t.Fatalf("request %d: generation %d, %v", at, n, files)
				}
				if _, list, err := Sync(ctx, lead, nil, opt); err != nil || list[0].Err != nil || list[0].Generation != 2 {
					t.Fatalf("request %d: %+v, %v", at, list, err)
				}
				if !hit.Load() {
					if at < 3 {
						t.Fatalf("a sync takes %d requests", at)
					}
					return
				}
			}
		})
	}
}

func reopened(t *testing.T, r *publish.Repo, store bucket.Store) *publish.Repo {
	t.Helper()
	return must(publish.Open(r.Dir, r.Config, plain.Format{}, choices.Sites, publish.Options{
		Store: func(string, *publish.Config) (bucket.Store, error) { return store, nil },
		Now:   func() time.Time { return epoch }, Who: "tester", Targets: StateOf}))(t)
}
