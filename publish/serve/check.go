package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

const (
	// checkRows is how many files are looked at in each checkPause: slowly enough that
	// requests do not feel it, and a tree of 100,000 files takes a minute or two.
	checkRows  = 100
	checkPause = 100 * time.Millisecond
	// maxReported is how many damaged files of a view the log names.
	maxReported = 20
)

// check looks at the files of each new view, slowly, until ctx ends: each has to be a
// file with the size that the manifest says. Of those that clients ask for by a digest,
// it reads manifests, which are small; verify reads all. A file that is wrong is not
// served either: see generation.View.Open and findManifest.
func (s *Server) check(ctx context.Context) {
	for {
		changed := s.keeper.attempt()
		if v := s.keeper.hold(); v != nil {
			s.checkView(ctx, v, changed, checkPause)
			v.release()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// checkView looks at the files of a view, until another one is built.
func (s *Server) checkView(ctx context.Context, v *view, changed <-chan struct{}, pause time.Duration) {
	damaged := 0
	s.count.damaged.Set(0)
	manifests := v.repos.manifests()
	for i, row := range v.Own {
		if i%checkRows == checkRows-1 {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				return
			case <-time.After(pause):
			}
		}
		if s.pull != nil && s.pull.Serves(row.Path) {
			continue // it has another size than its row, and was read for the view
		}
		if v.Elsewhere != nil && v.Elsewhere.Away(row) {
			continue // it would take a request for each: verify does that
		}
		problem, err := v.problem(row)
		if n, is := manifests[row.Path]; is && problem == "" && err == nil && row.Size <= maxManifest {
			if err = s.checkManifest(ctx, v, row, n); gone(err) {
				err = nil
			}
		}
		if err != nil && !exhausted(err) { // that says nothing of the file
			problem = cause(err)
		}
		if problem == "" || s.keeper.current.Load() != v { // a gc may have begun to delete its tree
			continue
		}
		damaged++
		s.count.damaged.Set(float64(damaged))
		if damaged <= maxReported {
			s.log.Error("a file of production is damaged", "generation", v.Generation, "path", row.Path,
				"problem", problem, "hint", "run publish verify")
		}
	}
}

// checkManifest reads a manifest, and notes what it refers to: so who asks for referrers
// later does not wait for that.
func (s *Server) checkManifest(ctx context.Context, v *view, row tree.Row, n namedBy) error {
	data, err := readSmall(ctx, v, row, n.Digest)
	if err != nil {
		return err
	}
	if digest := n.Digest.String(); n.by.refs.fact(digest) == nil {
		n.by.refs.learn(digest, s.factOf(n.Naming, data))
	}
	return nil
}

// cause is an error without the path that it is about.
func cause(err error) string {
	if at := new(fs.PathError); errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}

// problem says what is wrong with a file, as far as can be told without reading it; "" if
// nothing is. The error is one of looking at it.
func (v *view) problem(row tree.Row) (string, error) {
	fi, err := v.Lstat(row.Path)
	switch {
	case gone(err):
		return "is missing", nil
	case err != nil:
		return "", err
	case row.Role == catalog.Link:
		return "", nil
	case !fi.Mode().IsRegular():
		return "is not a regular file", nil
	case fi.Size() != row.Size:
		return fmt.Sprintf("has %d bytes, the manifest says %d", fi.Size(), row.Size), nil
	}
	return "", nil
}
