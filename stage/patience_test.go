package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/simplestreams"
)

// slow is a format whose index somebody is writing: it is whole after some reads.
type slow struct {
	simplestreams.Format
	before *int // reads that meet half of it
	finish func()
}

func (f slow) half() bool {
	*f.before--
	if *f.before == 0 {
		f.finish()
	}
	return *f.before >= 0
}

func (f slow) Read(ctx context.Context, src catalog.Source) (*catalog.Catalog, error) {
	cat, err := f.Format.Read(ctx, src)
	if err == nil && f.half() {
		c := *cat
		c.Half = []string{indexPath}
		cat = &c
	}
	return cat, err
}

func (f slow) WithoutVersions(ctx context.Context, src catalog.Source, drop func(catalog.Name) bool) (
	[]catalog.Document, error) {
	if f.half() {
		return nil, &catalog.HalfError{DocumentError: &catalog.DocumentError{Path: indexPath, Code: "schema"}}
	}
	return f.Format.WithoutVersions(ctx, src, drop)
}

const indexPath = "streams/v1/index.json"

// Whoever reads staging while a tool writes an index in place reads again.
func TestHalfDocument(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, s *Stage) (images int){
		"list": func(t *testing.T, s *Stage) int {
			images, err := s.List(t.Context())
			must(t, err)
			return len(images)
		},
		"validate": func(t *testing.T, s *Stage) int {
			c, err := s.Validate(t.Context(), Checks{Now: time.Now()})
			must(t, err)
			return len(c.Catalog.Images)
		},
		"peek": func(t *testing.T, s *Stage) int {
			c, err := s.Peek(t.Context())
			must(t, err)
			return len(c.Catalog.Images)
		},
		"snapshot": func(t *testing.T, s *Stage) int {
			return len(snapshot(t, s, &Base{}).cat.Images)
		},
		"without": func(t *testing.T, s *Stage) int {
			docs, err := s.WithoutVersions(t.Context(), func(catalog.Name) bool { return true })
			must(t, err)
			return len(docs)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			add(t, s, built(t, "one", ""))
			path := filepath.Join(s.Dir, indexPath)
			whole, err := os.ReadFile(path)
			must(t, err)
			reads := 3
			s.Patience = time.Hour
			s.Format = slow{before: &reads, finish: func() { must(t, os.WriteFile(path, whole, 0o644)) }}
			must(t, os.Chmod(path, 0o644))
			must(t, os.WriteFile(path, whole[:len(whole)/2], 0o644))
			if n := do(t, s); n == 0 {
				t.Error("the half document counted")
			}
		})
	}
}

// The same for a tree that is imported.
func TestHalfImport(t *testing.T) {
	from, s := newStage(t), newStage(t)
	add(t, from, built(t, "one", ""))
	path := filepath.Join(from.Dir, indexPath)
	whole, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Chmod(path, 0o644))
	must(t, os.WriteFile(path, whole[:len(whole)/2], 0o644))
	reads := 3
	s.Patience = time.Hour
	s.Format = slow{before: &reads, finish: func() { must(t, os.WriteFile(path, whole, 0o644)) }}
	did, err := s.Import(t.Context(), from.Dir)
	if err != nil || did.Images != 1 {
		t.Errorf("%+v, %v", did, err)
	}
	must(t, os.WriteFile(path, whole[:len(whole)/2], 0o644))
	reads, s.Patience = 1<<30, 2*pause
	s.Format = slow{before: &reads}
	if _, err := s.Import(t.Context(), from.Dir); !errors.As(err, new(*FindingsError)) || 1<<30-reads != 3 {
		t.Errorf("%v after %d reads", err, 1<<30-reads)
	}
}

// After a while the half document counts as what it is.
func TestHalfDocumentForEver(t *testing.T) {
	s := newStage(t)
	add(t, s, built(t, "one", ""))
	reads := 1 << 30
	s.Format = slow{before: &reads}
	s.Patience = 3 * pause
	c, err := s.Validate(t.Context(), Checks{Now: time.Now()})
	must(t, err)
	if done := 1<<30 - reads; done != 4 || !slices.Equal(c.Catalog.Half, []string{indexPath}) {
		t.Errorf("%d reads", done)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Catalog(ctx); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Error(err)
	}
}
