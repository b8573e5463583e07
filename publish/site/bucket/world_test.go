package bucket_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a production in a store, with one site that uses it.
type world struct {
	t     *testing.T
	store *buckettest.Memory
	site  *bucket.Site
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: buckettest.New(epoch)}
	w.site = w.newSite()
	w.ok2(w.site.Found(t.Context(), birth()))
	return w
}

func birth() bucket.Birth {
	return bucket.Birth{Repository: "r1", Format: "plain", Readers: "bucket", Pointer: "index.json", Made: epoch,
		Who: "w", Document: []byte("{\"index\": {}}\n")}
}

func (w *world) newSite() *bucket.Site {
	return bucket.New(bucket.Options{Store: w.store, Who: "w", Content: "immutable", Mutable: "no-cache",
		Workers: 4, Now: w.store.Now, Sleep: w.store.Sleep})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ok2(_ any, err error) { w.t.Helper(); w.ok(err) }

func (w *world) read() *bucket.Pointer {
	w.t.Helper()
	p, err := w.site.Read(w.t.Context())
	w.ok(err)
	return p
}

func sumOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:])
}

// rows are those of a tree, from path to bytes.
func rows(files map[string]string) (rows []tree.Row) {
	for p, data := range files {
		row := tree.Row{Path: p, Size: int64(len(data)), SHA256: sumOf(data), Role: catalog.Content}
		if strings.HasSuffix(p, ".html") {
			row.Role = catalog.Mutable
		}
		rows = append(rows, row)
	}
	tree.SortRows(rows)
	return rows
}

func uploads(files map[string]string) (list []bucket.Upload) {
	for _, row := range rows(files) {
		data := []byte(files[row.Path])
		if row.Role == catalog.Mutable {
			list = append(list, bucket.FileUpload(row, data))
			continue
		}
		list = append(list, bucket.Upload{Key: row.Path, Body: buckettest.Body(data), Type: "text/plain"})
	}
	return list
}

func manifest(n, from int, files map[string]string, carried ...generation.Carried) *generation.Manifest {
	own := rows(files)
	return &generation.Manifest{Head: generation.Head{Generation: n, From: from, Origin: n, TreeID: tree.ID(own),
		Kind: generation.KindPromote, Who: "w", Time: epoch}, Own: own, Carried: carried}
}

// promote makes files production, on top of base.
func (w *world) promote(ctx context.Context, s *bucket.Site, base *bucket.Pointer, files map[string]string,
	carried ...generation.Carried) (*bucket.Pointer, error) {
	if _, err := s.Upload(ctx, base, uploads(files)); err != nil {
		return nil, err
	}
	n := base.Generation + 1
	return s.Commit(ctx, base, bucket.Commit{Nonce: bucket.NewNonce(), Event: fmt.Appendf(nil, "promote %d", n),
		History: fmt.Appendf(nil, "%d", n), Document: fmt.Appendf(nil, "{\"index\": %d}\n", n),
		Manifest: manifest(n, base.Generation, files, carried...)})
}

func (w *world) must(files map[string]string, carried ...generation.Carried) *bucket.Pointer {
	w.t.Helper()
	p, err := w.promote(w.t.Context(), w.site, w.read(), files, carried...)
	w.ok(err)
	return p
}

// whole checks all that the pointer names.
func (w *world) whole() {
	w.t.Helper()
	s := w.newSite()
	w.ok2(s.Join(w.t.Context()))
	p, err := s.Read(w.t.Context())
	w.ok(err)
	refs := p.Kept
	if p.Manifest != nil {
		refs = append(slices.Clone(refs), *p.Manifest)
	}
	for _, ref := range refs {
		m, err := s.Manifest(w.t.Context(), ref)
		w.ok(err)
		for _, row := range m.Own {
			if row.Role == catalog.Mutable {
				w.ok2(s.File(w.t.Context(), row))
			} else if got := sumOf(string(w.store.Data(row.Path))); got != row.SHA256 {
				w.t.Errorf("generation %d: %s has the digest %s", ref.Generation, row.Path, got)
			}
		}
	}
	for _, err := range s.Events(w.t.Context(), p.Event) {
		w.ok(err)
	}
}

func (w *world) lines(p *bucket.Pointer) (lines []string) {
	w.t.Helper()
	for line, err := range w.site.Events(w.t.Context(), p.Event) {
		w.ok(err)
		lines = append(lines, string(line))
	}
	return lines
}
