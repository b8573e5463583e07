package serve

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"example.com/publish/publish"
)

// maxKept is how many kept generations are open at once for paths such as /@42/.
const maxKept = 4

// kept has the views of kept generations that were asked for, the newest use last.
type kept struct {
	open func(ctx context.Context, n int) (*view, error)

	mu   sync.Mutex
	list []*view
}

// hold returns the view of generation n, held for the caller.
func (k *kept) hold(ctx context.Context, n int) (*view, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, v := range k.list {
		if v.Generation != n {
			continue
		}
		k.list = slices.Delete(k.list, i, i+1)
		if v.Proved() == nil && v.acquire() {
			k.list = append(k.list, v)
			return v, nil
		}
		v.release()
		break
	}
	v, err := k.open(ctx, n)
	if err != nil {
		return nil, err
	}
	if len(k.list) == maxKept {
		k.list[0].release()
		k.list = slices.Delete(k.list, 0, 1)
	}
	k.list = append(k.list, v)
	v.acquire()
	return v, nil
}

// close gives all views up.
func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range k.list {
		v.release()
	}
	k.list = nil
}

// openKept opens generation n as a view. Documents are shared with those of production.
func (s *Server) openKept(ctx context.Context, n int) (*view, error) {
	v, err := s.keeper.from.openKept(ctx, n)
	if err != nil {
		return nil, err
	}
	before := s.keeper.hold()
	defer before.drop()
	next, err := newView(ctx, v, stamp{}, s.repo.Format(), before)
	if err == nil {
		next.kept = true
	}
	return next, err
}

// pin is a path such as @42/streams/v1/index.json.
type pin struct {
	generation int
	name       string // @42
	rest       string
	below      bool // a slash follows the name
}

// pinned reads such a path. ok is false for any other, such as @latest or @042: that is a
// name in the tree.
func pinned(p string) (_ pin, ok bool) {
	if !strings.HasPrefix(p, "@") { // as nearly all
		return pin{}, false
	}
	name, rest, below := strings.Cut(p, "/")
	n, ok := canonical(name[1:])
	return pin{n, name, rest, below}, ok
}

// canonical reads the number of a generation where each has one address only.
func canonical(text string) (int, bool) {
	n, ok := publish.GenerationNumber(text)
	return n, ok && strconv.Itoa(n) == text
}

// taken reports whether a name at the root of a tree cannot be reached by its path, since
// the server has something of its own there.
func taken(name string) bool {
	_, is := pinned(name)
	return is || name == "-"
}

// pinned answers for a path that shows a generation for as long as it is kept.
func (s *Server) pinned(w http.ResponseWriter, r *http.Request, p pin, slash bool) {
	if !p.below && !slash {
		s.moved(w, "./"+p.name+"/")
		return
	}
	v, err := s.view(r.Context(), p.generation)
	switch {
	case err == nil:
	case exhausted(err):
		s.overloaded(w)
		return
	case errors.Is(err, errNoView):
		s.unavailable(w)
		return
	case s.unreached(err):
		s.unavailableContent(w)
		return
	default:
		s.notFound(w)
		return
	}
	defer v.release()
	if err := s.answer(w, r, v, v.look(p.rest), p.rest, slash); err != nil {
		clear(w.Header())
		s.broken(w, v, p.rest, err)
	}
}

// view holds the view of generation n, which is production or kept.
func (s *Server) view(ctx context.Context, n int) (*view, error) {
	if v := s.keeper.hold(); v != nil {
		if v.Generation == n {
			return v, nil
		}
		v.release()
	}
	kept, err := s.kept.hold(ctx, n)
	if err == nil || exhausted(err) {
		return kept, err
	}
	// It may be production, of which there is no view yet: in rename mode its tree is nowhere else.
	v, none := s.keeper.fresh(ctx)
	if none != nil {
		return nil, none
	}
	if v.Generation != n {
		v.release()
		return nil, err
	}
	return v, nil
}
