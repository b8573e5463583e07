package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// sight is an object of which this Site knows that it is there.
type sight struct {
	sum         string
	collections int // Pointer.Collections before it was seen
}

// Upload creates what is not there, Workers at once. base is the pointer that the tree was
// compared with: an object that its gc is deleting is a CondemnedError, before anything is
// sent. What exists must have the same size and digest, and be of this repository, else the
// error is a ReplacedError. It returns the bytes that were sent.
//
// Only the own rows of base's production, and of generations that base keeps, need no
// Upload: they stay as long as they are named. A carried row may have been deleted after its
// window. After a MovedError, Upload again with the new base all that it does not name: a gc
// in between may have deleted what was there. That costs no request for what this Site has
// sent or seen, unless a gc has been there.
func (s *Site) Upload(ctx context.Context, base *Pointer, objects []Upload) (int64, error) {
	birth, err := s.joined()
	if err != nil {
		return 0, err
	}
	todo, err := s.missing(ctx, base, objects)
	if err != nil || len(todo) == 0 {
		return 0, err
	}
	if err := s.step("before-upload"); err != nil {
		return 0, err
	}
	var total int64
	for _, u := range todo {
		total += u.Body.Size
	}
	report := func(int64) {}
	if s.Progress != nil {
		report = s.Progress("upload", total)
	}
	var sent, passed atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, s.Workers))
	for _, u := range todo {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			fresh, err := s.make(gctx, u, birth.Repository)
			if fresh {
				sent.Add(u.Body.Size)
			}
			if err != nil {
				return err
			}
			s.saw(u, base)
			report(passed.Add(u.Body.Size))
			return nil
		})
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return sent.Load(), err
	}
	return sent.Load(), s.step("after-upload")
}

// Lacks returns how many bytes Upload would send or look for: those of objects that this Site
// has neither sent nor seen. It sends no request, unless a gc is at work.
func (s *Site) Lacks(ctx context.Context, base *Pointer, objects []Upload) (bytes int64, err error) {
	todo, err := s.missing(ctx, base, objects)
	for _, u := range todo {
		bytes += u.Body.Size
	}
	return bytes, err
}

// missing returns each object once that this Site does not know to be there.
func (s *Site) missing(ctx context.Context, base *Pointer, objects []Upload) ([]Upload, error) {
	condemned, err := s.condemned(ctx, base)
	if err != nil {
		return nil, err
	}
	sums := make(map[string]string, len(objects))
	var todo []Upload
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range objects {
		sum, twice := sums[u.Key]
		switch {
		case twice && sum != u.Body.SHA256:
			return nil, fmt.Errorf("%s: is to have two contents", u.Key)
		case twice:
			continue
		case condemned[u.Key]:
			return nil, &CondemnedError{Key: u.Key, Until: base.Condemned.Until()}
		}
		sums[u.Key] = u.Body.SHA256
		if was, ok := s.present[u.Key]; ok && was.sum == u.Body.SHA256 && was.collections == base.Collections {
			continue
		}
		todo = append(todo, u)
	}
	return todo, nil
}

func (s *Site) saw(u Upload, base *Pointer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.present == nil {
		s.present = map[string]sight{}
	}
	s.present[u.Key] = sight{u.Body.SHA256, base.Collections}
}

// due is a list of condemned keys that was read.
type due struct {
	key  string
	keys map[string]bool
}

// condemned returns the keys that a gc is deleting, as base says.
func (s *Site) condemned(ctx context.Context, base *Pointer) (map[string]bool, error) {
	if base.Condemned == nil {
		return nil, nil
	}
	s.mu.Lock()
	known := s.due
	s.mu.Unlock()
	if known.key == base.Condemned.Key {
		return known.keys, nil
	}
	list, err := s.list(ctx, base)
	if err != nil {
		return nil, err
	}
	keys := make(map[string]bool, len(list))
	for _, key := range list {
		keys[key] = true
	}
	s.mu.Lock()
	s.due = due{base.Condemned.Key, keys}
	s.mu.Unlock()
	return keys, nil
}

// list reads the list of the gc in base. The error is a *MovedError if that gc is over.
func (s *Site) list(ctx context.Context, base *Pointer) ([]string, error) {
	d := base.Condemned
	data, _, err := s.fetch(ctx, d.Key, maxList)
	if errors.Is(err, ErrNotFound) { // the gc deletes its list in the end
		if now, rerr := s.Read(ctx); rerr == nil && (now.Condemned == nil || now.Condemned.Key != d.Key) {
			return nil, &MovedError{Now: now}
		}
	}
	if err != nil {
		return nil, err
	}
	plain := []byte(nil)
	if sumOf(data) != d.SHA256 {
		err = fmt.Errorf("%w: it has other bytes", ErrDamaged)
	} else {
		plain, err = unpack(data, maxList)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Key, err)
	}
	var keys []string
	for line := range bytes.Lines(plain) {
		keys = append(keys, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	if len(keys) != d.Count {
		return nil, fmt.Errorf("%s: %w: it has %d keys", d.Key, ErrDamaged, len(keys))
	}
	return keys, nil
}

// packList is the object that list reads.
func packList(keys []string) []byte {
	slices.Sort(keys)
	var b bytes.Buffer
	for _, key := range keys {
		b.WriteString(key)
		b.WriteByte('\n')
	}
	return pack(b.Bytes())
}
