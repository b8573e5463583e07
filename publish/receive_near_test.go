package publish

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// What lies on the same file system is cloned, and compared: other bytes, and what the file
// system does not clone, come as ever.
func TestReceptionClones(t *testing.T) {
	copied := func(dst, src *os.File) error { // what Clone has for those who read
		_, err := io.Copy(dst, src)
		_, serr := dst.Seek(0, io.SeekStart)
		return errors.Join(err, serr)
	}
	for name, c := range map[string]struct {
		clone func(dst, src *os.File) error
		want  error
	}{
		"cloned": {copied, nil},
		"no reflinks": {func(dst, src *os.File) error {
			return durable.ErrUnsupported
		}, durable.ErrUnsupported},
		"other bytes": {func(dst, src *os.File) error {
			_, err := dst.WriteAt([]byte("eno"), 0)
			return err
		}, catalog.ErrDigest},
		"cut": {func(dst, src *os.File) error { return nil }, catalog.ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			lead, target := newFollower(t, "symlink")
			lead.put(map[string]string{"a/1": "one"})
			lead.promote()
			l, err := lead.repo().Lead(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			r := target.repo()
			r.clone = c.clone
			p, _, err := r.Receive(ctx, Leader{ID: l.ID, Target: "eu"}, l.At())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			m, err := generation.Decode(l.Sealed)
			if err != nil {
				t.Fatal(err)
			}
			lacks, err := p.Offer(ctx, m, l.Stones, l.Revoked)
			if err != nil {
				t.Fatal(err)
			}
			var left []tree.Row
			for _, row := range lacks {
				if row.Role != catalog.Content {
					left = append(left, row)
					continue
				}
				f, err := l.View.Open(row)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Clone(ctx, row, f); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				} else if err != nil {
					left = append(left, row)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			if n := len(lacks) - len(left); n != 0 && c.want != nil || n == 0 && c.want == nil {
				t.Errorf("%d of %d contents were cloned", n, len(lacks))
			}
			var line bytes.Buffer
			if err := l.Write(ctx, &line, left, nil); err != nil {
				t.Fatal(err)
			}
			if err := generation.ReadContents(ctx, &line, m, left, p.Put); err != nil {
				t.Fatal(err)
			}
			if lacks, err := p.Lacks(ctx); err != nil || len(lacks) > 0 {
				t.Fatal(lacks, err)
			}
			if _, err := p.Finish(ctx); err != nil {
				t.Fatal(err)
			}
			target.follows(lead)
		})
	}
}
