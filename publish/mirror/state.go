package mirror

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// states are all states, in the order of a job's way.
var states = []State{Pending, Waiting, Running, Staged, Published, Failed, Cancelled, Superseded, Denied}

// States returns all states, in the order of a job's way.
func States() []State { return append([]State{}, states...) }

// maxDamaged is how many damaged files a state has. The command list has all.
const maxDamaged = 100

// StateOf returns what a monitor watches of a repository's queue; nil if it has none. It
// takes no lock, and needs no upstream: it is for publish.Options. now is the clock.
func StateOf(now func() time.Time) func(*publish.Repo) (*publish.MirrorState, error) {
	var mu sync.Mutex
	queues := map[string]*Queue{} // a server asks again and again
	return func(r *publish.Repo) (*publish.MirrorState, error) {
		if _, err := os.Lstat(dir(r, "queue")); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		mu.Lock()
		q := queues[r.Dir]
		if q == nil {
			q = Open(dir(r, "queue"), now)
			queues[r.Dir] = q
		}
		mu.Unlock()
		jobs, bad, err := q.List()
		if err != nil {
			return nil, err
		}
		out := stateOf(q, jobs, OpenHosts(dir(r, "hosts.json"), now).Peek(), &r.Config.Mirror)
		for _, p := range bad[:min(len(bad), maxDamaged)] {
			out.Damaged = append(out.Damaged, p.Error())
		}
		return out, nil
	}
}

func stateOf(q *Queue, jobs []Job, hosts map[string]Hold, c *publish.MirrorConfig) *publish.MirrorState {
	out := &publish.MirrorState{Jobs: map[string]int{}, Failed: map[string]int{}, Hosts: map[string]time.Time{},
		Damaged: []string{}}
	for _, s := range states {
		out.Jobs[string(s)] = 0
	}
	for host, hold := range hosts {
		out.Hosts[host] = hold.Until
	}
	now := q.time()
	earlier := func(at **time.Time, t time.Time) {
		if *at == nil || t.Before(**at) {
			*at = &t
		}
	}
	due := func(since time.Time) { out.Due++; earlier(&out.DueSince, since) }
	var failed []Job
	for _, j := range jobs {
		out.Jobs[string(j.State)]++
		if !j.State.Ended() {
			earlier(&out.Oldest, j.Created)
		}
		switch j.State {
		case Running:
			out.BytesDone += j.BytesDone
			out.BytesTotal += j.BytesTotal
			if q.orphan(j.ID) {
				out.Orphaned++
				due(j.Updated)
			}
		case Pending, Waiting:
			if _, held := heldOf(registryOf(j.Canonical), hosts, c); j.due(now) && !held {
				since := j.Updated
				if j.Until.After(since) {
					since = j.Until
				}
				due(since)
			}
		case Staged, Published:
			if end := j.Finished; out.LastSuccess == nil || end.After(*out.LastSuccess) {
				out.LastSuccess = &end
			}
		case Failed:
			failed = append(failed, j)
		}
	}
	for _, j := range stillFailed(failed, jobs) {
		class := j.Class
		if class == "" {
			class = catalog.Internal
		}
		out.Failed[string(class)]++
	}
	return out
}

// stillFailed returns the failed jobs whose image no later job brought, be it by following
// a name that moved.
func stillFailed(failed, all []Job) []Job {
	if len(failed) == 0 {
		return nil
	}
	came := map[string]time.Time{}
	for _, j := range all {
		if j.State != Staged && j.State != Published {
			continue
		}
		if key := j.image(); j.Finished.After(came[key]) {
			came[key] = j.Finished
		}
	}
	return slices.DeleteFunc(failed, func(j Job) bool { return came[j.image()].After(j.Finished) })
}

// registryOf is the host in a canonical name, as a registry or a server of streams has it.
func registryOf(canonical string) string {
	if strings.Contains(canonical, "://") {
		if u, err := url.Parse(canonical); err == nil {
			return strings.ToLower(u.Host)
		}
	}
	host, _, _ := strings.Cut(canonical, "/")
	return host
}

// heldOf returns until when no server of a registry may be asked; ok is false if one may
// be asked now. A pause is that of the endpoint which asked for it.
func heldOf(registry string, all map[string]Hold, c *publish.MirrorConfig) (until time.Time, ok bool) {
	hosts := []string{registry}
	if len(all) == 0 {
		return time.Time{}, false
	}
	if endpoints := c.Registry(registry).Endpoints; len(endpoints) > 0 {
		hosts = nil
		for _, e := range endpoints {
			if u, err := url.Parse(e); err == nil {
				hosts = append(hosts, strings.ToLower(u.Host))
			}
		}
	}
	for _, host := range hosts {
		hold, held := all[host]
		if !held {
			return time.Time{}, false
		}
		if !ok || hold.Until.Before(until) {
			until, ok = hold.Until, true
		}
	}
	return until, ok
}
