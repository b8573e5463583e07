package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// MaxHold is the longest time for which a host is believed that it wants no requests.
const MaxHold = 24 * time.Hour

// Hold is a host that must not be asked before a time.
type Hold struct {
	Until  time.Time `json:"until"`
	Since  time.Time `json:"since"` // when that was said
	Reason string    `json:"reason,omitempty"`
}

// Hosts are the hosts that must not be asked for a while, in a file that all processes
// share. It holds no host for longer than MaxHold, also if the clock is set back.
type Hosts struct {
	path string
	now  func() time.Time

	mu    sync.Mutex
	info  fs.FileInfo // of the file when it was read
	holds map[string]Hold
}

// maxHosts is the most bytes of the file.
const maxHosts = 1 << 20

// OpenHosts returns the hosts of a file, such as .publish/mirror/hosts.json. It touches
// nothing. A file that is missing or damaged holds no host.
func OpenHosts(path string, now func() time.Time) *Hosts {
	return &Hosts{path: path, now: now}
}

// Wait returns until when a host must not be asked; ok is false if it may be asked now.
func (h *Hosts) Wait(host string) (until time.Time, ok bool) {
	hold, ok := h.All()[host]
	return hold.Until, ok
}

// All returns the hosts that must not be asked now.
func (h *Hosts) All() map[string]Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now().UTC()
	h.refresh(now)
	return maps.Collect(func(yield func(string, Hold) bool) {
		for host, hold := range h.holds {
			if hold.Until.After(now) && !yield(host, hold) {
				return
			}
		}
	})
}

// Peek is All for who writes nothing: holds that the clock makes too long end for this
// process only.
func (h *Hosts) Peek() map[string]Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now().UTC()
	h.load(now)
	h.info = nil // All reads it again
	maps.DeleteFunc(h.holds, func(_ string, hold Hold) bool { return !hold.Until.After(now) })
	return h.holds
}

// Block holds a host until a time, but no longer than MaxHold. It never makes a hold
// shorter. It is durable when it returns.
func (h *Hosts) Block(host string, until time.Time, reason string) error {
	return h.change(func(now time.Time) {
		hold := Hold{Until: until.UTC(), Since: now, Reason: cut(reason, maxText)}
		if most := now.Add(MaxHold); hold.Until.After(most) {
			hold.Until = most
		}
		if old, ok := h.holds[host]; !ok || old.Until.Before(hold.Until) {
			h.holds[host] = hold
		}
	})
}

// locked takes the lock of a file that processes share, and makes its directory.
func locked(ctx context.Context, path string, now time.Time) (unlock func(), err error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := lock.Create(path+".lock", lock.Private()); err != nil {
		return nil, err
	}
	return lock.Acquire(ctx, path+".lock", lock.Options{Verb: "mirror", Now: now, Wait: -1})
}

// change calls f with the holds as they are now, under the lock of the file, and writes
// them without those that are over.
func (h *Hosts) change(f func(now time.Time)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now().UTC()
	unlock, err := locked(context.Background(), h.path, now)
	if err != nil {
		return err
	}
	defer unlock()
	h.load(now)
	f(now)
	return h.store(now)
}

func (h *Hosts) store(now time.Time) error {
	maps.DeleteFunc(h.holds, func(_ string, hold Hold) bool { return !hold.Until.After(now) })
	data, err := marshal(h.holds)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(h.path, data, 0o644); err != nil {
		return err
	}
	h.info, err = os.Lstat(h.path)
	return err
}

// refresh reads the file if it changed. Holds that the clock makes too long are written
// again, so that they end for all; where that is not allowed, they end for this process.
func (h *Hosts) refresh(now time.Time) {
	info, err := os.Lstat(h.path)
	if err != nil {
		h.info, h.holds = nil, map[string]Hold{}
		return
	}
	same := h.info != nil && os.SameFile(h.info, info) && h.info.Size() == info.Size() &&
		h.info.ModTime().Equal(info.ModTime()) && time.Since(info.ModTime()) > settled
	if same {
		if h.anchor(now) {
			_ = h.rewrite(now)
		}
		return
	}
	h.info = info
	if h.load(now) {
		_ = h.rewrite(now)
	}
}

// load reads the file, and reports whether the clock made holds too long.
func (h *Hosts) load(now time.Time) bool {
	h.holds = map[string]Hold{}
	data, err := durable.ReadFile(h.path, maxHosts)
	if err == nil {
		err = json.Unmarshal(data, &h.holds)
	}
	if err != nil || h.holds == nil {
		h.holds = map[string]Hold{} // a hint is lost: the host says it again
	}
	return h.anchor(now)
}

// anchor lets holds begin anew that the clock makes too long: it was set back, or a
// person wrote a time far away.
func (h *Hosts) anchor(now time.Time) (changed bool) {
	for _, host := range slices.Collect(maps.Keys(h.holds)) {
		hold := h.holds[host]
		until, back := reanchor(hold.Since, hold.Until, now)
		if most := now.Add(MaxHold); until.After(most.Add(clockSlack)) {
			until, back = most, true
		}
		if back {
			hold.Until, hold.Since, changed = until, now, true
			h.holds[host] = hold
		}
	}
	return changed
}

// rewrite stores what anchor changed, unless another process writes at the time: it
// does the same.
func (h *Hosts) rewrite(now time.Time) error {
	unlock, err := lock.Acquire(context.Background(), h.path+".lock", lock.Options{Verb: "mirror", Now: now})
	if err != nil {
		return err
	}
	defer unlock()
	if info, err := os.Lstat(h.path); err != nil || h.info == nil || !os.SameFile(info, h.info) {
		return errors.Join(err, fs.ErrExist) // it is new: the next look reads it
	}
	return h.store(now)
}

// Before is asked before each request: its error is one of a host that must not be asked
// yet.
func (h *Hosts) Before(host string) error {
	until, ok := h.Wait(host)
	if !ok {
		return nil
	}
	return &catalog.RemoteError{Class: catalog.RateLimit, Host: host, Again: true, Until: until,
		Err: fmt.Errorf("%s: is not asked until %s: it wanted a pause", host, until.Format(time.RFC3339))}
}
