package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListAndRemove(t *testing.T) {
	s := newStage(t)
	a := add(t, s, built(t, "alpha", "")).Images[0]
	b := add(t, s, built(t, "beta", "")).Images[0]
	list, err := s.List(context.Background())
	must(t, err)
	if len(list) != 2 || list[0].Fingerprint != a.Fingerprint || list[1].Fingerprint != b.Fingerprint {
		t.Fatalf("list: %+v", list)
	}
	if _, err := s.Remove(context.Background(), "", b.Product, "nothing"); !errors.Is(err, ErrNotFound) ||
		!strings.HasPrefix(err.Error(), "nothing: ") {
		t.Errorf("removing what is not there: %v", err)
	}
	if got := len(valid(t, s)); got != 2 {
		t.Fatalf("a refused remove left %d images", got)
	}
	gone, err := s.Remove(context.Background(), "", a.Fingerprint[:12])
	must(t, err)
	if len(gone) != 1 || gone[0].Product != a.Product {
		t.Errorf("removed %+v", gone)
	}
	left := valid(t, s)
	if len(left) != 1 || left[0].Fingerprint != b.Fingerprint {
		t.Errorf("left %+v", left)
	}
	for _, p := range gone[0].Paths {
		if !exists(filepath.Join(s.Dir, p)) {
			t.Errorf("%s: removed at once; it has to stay as an orphan", p)
		}
	}
	clean(t, s)
}

func TestListAndRemovePlain(t *testing.T) {
	s := newPlain(t)
	must(t, os.MkdirAll(filepath.Join(s.Dir, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(s.Dir, "a/b/file"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(s.Dir, "upload.part"), []byte("x"), 0o644))
	must(t, os.Symlink("file", filepath.Join(s.Dir, "a/b/link")))
	list, err := s.List(context.Background())
	must(t, err)
	var got []string
	for _, i := range list {
		got = append(got, i.Type+" "+i.Product)
	}
	if diff := cmp.Diff([]string{"file a/b/file", "link a/b/link"}, got); diff != "" {
		t.Error(diff)
	}
	trash := filepath.Join(filepath.Dir(s.Dir), "trash")
	_, err = s.Remove(context.Background(), trash, "a/b/file", "a/b/link")
	must(t, err)
	if exists(filepath.Join(s.Dir, "a")) {
		t.Error("empty folders stay")
	}
	if string(read(t, filepath.Join(trash, "a/b/file"))) != "x" {
		t.Error("the file is not in the trash")
	}
}
