package bucket_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

// whole checks what must be true after each step.
func (s *sim) whole() {
	if data := s.store.Data("index.json"); string(data) != string(s.last) {
		s.last = data
		s.moved()
	}
	now := s.store.Now()
	for key, sum := range s.named {
		data := s.store.Data(key)
		if data == nil || sum != "" && sumOf(string(data)) != sum {
			s.errorf("%s is named, and is not there", key)
		}
	}
	if s.pointer.Manifest == nil {
		return
	}
	for _, c := range s.rows[s.pointer.Manifest.Key].Carried {
		if !s.over(c, now) && sumOf(string(s.store.Data(c.Path))) != c.SHA256 {
			s.errorf("%s is carried since %d, and is not there", c.Path, c.Dropped)
		}
	}
}

// over reports whether the window of a carried row has ended.
func (s *sim) over(c generation.Carried, now time.Time) bool {
	return now.After(s.switched[c.Dropped].Add(grace))
}

// moved takes in another pointer.
func (s *sim) moved() {
	ctx := s.t.Context()
	p, err := s.check.Read(ctx)
	if err != nil {
		s.errorf("%v", err)
		return
	}
	if old := s.pointer; old != nil && (p.Seq <= old.Seq || p.Generation < old.Generation) {
		s.errorf("%d-%d is followed by %d-%d", old.Seq, old.Generation, p.Seq, p.Generation)
	}
	var news []modelLine
	s.named = map[string]string{"_publish/repository.json": ""}
	for key := p.Event; key != ""; {
		s.named[key] = ""
		var e struct {
			Prev, Line string
		}
		if err := json.Unmarshal(s.store.Data(key), &e); err != nil {
			s.errorf("%s: %v", key, err)
			return
		}
		var l modelLine
		if err := json.Unmarshal([]byte(e.Line), &l); err != nil {
			s.errorf("%s: %v", key, err)
		}
		news = append(news, l)
		key = e.Prev
	}
	slices.Reverse(news)
	for i, l := range news {
		if i < len(s.lines) {
			if l.Op != s.lines[i].Op || l.ID != s.lines[i].ID {
				s.errorf("line %d of the history has changed", i)
			}
			continue
		}
		s.line(l)
	}
	if len(news) < len(s.lines) {
		s.errorf("lines of the history are gone")
	}
	s.lines, s.pointer = news, p
	s.tally.commits++
	s.names(p)
}

// line takes in a line of the history: it makes a tree from the one before.
func (s *sim) line(l modelLine) {
	if l.Gen == 0 {
		return
	}
	s.tally.generations++
	s.switched[l.Gen] = s.store.Now()
	if l.Op == "revert" {
		s.trees[l.Gen] = s.trees[l.To]
		return
	}
	before := 0
	for n := range s.trees {
		before = max(before, n)
	}
	s.trees[l.Gen] = changed(s.trees[before], l.Add, l.Remove)
}

func changed(tree, add, remove []string) []string {
	set := map[string]bool{}
	for _, p := range slices.Concat(tree, add) {
		set[p] = true
	}
	for _, p := range remove {
		delete(set, p)
	}
	return slices.Sorted(maps.Keys(set))
}

// names notes what a pointer leads to.
func (s *sim) names(p *bucket.Pointer) {
	refs := slices.Clone(p.Kept)
	if p.Manifest != nil {
		refs = append(refs, *p.Manifest)
	}
	for _, ref := range refs {
		m := s.rows[ref.Key]
		if m == nil {
			var err error
			if m, err = s.check.Manifest(s.t.Context(), ref); err != nil {
				s.errorf("%v", err)
				return
			}
			s.rows[ref.Key] = m
		}
		var own []string
		for _, row := range m.Own {
			if !slices.Contains(always, row.Path) {
				own = append(own, row.Path)
			}
			s.named[row.Path] = row.SHA256
		}
		if !slices.Equal(own, s.trees[ref.Generation]) {
			s.errorf("generation %d has %q, and should have %q", ref.Generation, own, s.trees[ref.Generation])
		}
	}
	for _, ref := range slices.Concat(refs, p.Bases) {
		s.named[ref.Key] = ref.SHA256
	}
	if p.Condemned != nil {
		s.named[p.Condemned.Key] = p.Condemned.SHA256
	}
}

// end checks the results, and that what is left over can be cleared away.
func (s *sim) end() {
	if s.t.Failed() {
		return
	}
	s.tally.collections += s.pointer.Collections
	count := map[string]int{}
	for _, l := range s.lines {
		count[l.ID]++
	}
	for id, err := range s.results {
		switch n := count[id]; {
		case err == nil && n != 1:
			s.errorf("%s succeeded, and is there %d times", id, n)
		case err != nil && !errors.Is(err, errKilled) && !errors.Is(err, bucket.ErrOutcome) && n != 0:
			s.errorf("%s failed, and is there: %v", id, err)
		case n > 1:
			s.errorf("%s is there %d times", id, n)
		}
	}
	s.advance(20 * time.Minute)
	last := bucket.New(bucket.Options{Store: s.store, Workers: 1, Now: s.store.Now, Sleep: s.store.Sleep})
	ctx := s.t.Context()
	if _, err := last.Join(ctx); err != nil {
		s.errorf("%v", err)
		return
	}
	for range 10 {
		p, err := last.Read(ctx)
		var drop []int
		if err == nil {
			for _, ref := range p.Kept {
				drop = append(drop, ref.Generation)
			}
			_, err = last.Collect(ctx, p, drop, s.gone(p), gcLine("end"))
		}
		s.whole()
		if err == nil {
			_, _, err = last.Orphans(ctx, nil, 0, true)
		}
		s.whole()
		moved, condemned := new(bucket.MovedError), new(bucket.CondemnedError)
		if err != nil && !errors.As(err, &moved) && !errors.As(err, &condemned) {
			s.errorf("%v", err)
		}
		s.advance(20 * time.Minute)
	}
	known := maps.Clone(s.named)
	known["index.json"], known["_publish/turn"] = "", ""
	for _, key := range s.store.Keys("") {
		if _, ok := known[key]; !ok {
			s.errorf("%s is left, and nothing names it", key)
		}
	}
	if s.pointer.Condemned != nil || len(s.pointer.Kept) > 0 {
		s.errorf("the last gc is not over: %+v", s.pointer.Condemned)
	}
}

// bare reads a store without requests.
type bare struct{ *buckettest.Memory }

func (b *bare) Get(_ context.Context, key string, _ bucket.Get) (*bucket.Object, error) {
	data := b.Data(key)
	if data == nil {
		return nil, fmt.Errorf("%s: %w", key, bucket.ErrNotFound)
	}
	body, err := buckettest.Body(data).Open(0)
	return &bucket.Object{Info: bucket.Info{Key: key, Size: int64(len(data)), ETag: sumOf(string(data)), Date: b.Now()},
		Body: body}, err
}

func (b *bare) List(context.Context, string, string) iter.Seq2[*bucket.Info, error] {
	return func(func(*bucket.Info, error) bool) {}
}
