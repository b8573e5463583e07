package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// waitForGeneration is how long readyz waits for a generation that is asked for.
const waitForGeneration = 10 * time.Second

// healthz says that the program runs.
func (s *Server) healthz(w http.ResponseWriter) { text(w, http.StatusOK, "ok") }

// readyz says whether the server answers from what production is now. With a generation
// in the query it waits until that, or a newer one, is live: so a health check of a
// promote tests the new content. Why there is no view names paths of the machine, so only
// some listeners say it: see shows.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request, admin bool) {
	want := 0
	if q := r.URL.Query(); q.Has("generation") {
		n, ok := canonical(q.Get("generation"))
		if !ok {
			text(w, http.StatusBadRequest, "generation: is not a number")
			return
		}
		want = n
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)() // a wait must not delay the end
	n, err := s.keeper.reach(ctx, want)
	switch {
	case s.ending.Err() != nil:
		text(w, http.StatusServiceUnavailable, "the server is ending")
	case err != nil && !errors.Is(err, errNoView) && !s.shows(admin):
		text(w, http.StatusServiceUnavailable, "production cannot be opened; the log says why")
	case err != nil:
		text(w, http.StatusServiceUnavailable, oneLine(err))
	case n < want:
		text(w, http.StatusServiceUnavailable, fmt.Sprintf("generation %d is live, not %d", n, want))
	default:
		text(w, http.StatusOK, fmt.Sprintf("generation %d", n))
	}
}

// reach returns the generation of the current view, after waiting for it to be at least
// want. The error says why there is no view of what production is.
func (k *keeper) reach(ctx context.Context, want int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, waitForGeneration)
	defer cancel()
	for {
		changed := k.attempt()
		v, now, same := k.compare()
		n := 0
		if v != nil {
			n = v.Generation
			v.release()
		}
		if _, err := k.stale(); err != nil && k.failedAt(now) && want == 0 {
			return n, err
		}
		if same && n >= want {
			return n, nil
		}
		if !same {
			k.poke()
		}
		select {
		case <-ctx.Done():
			if _, err := k.stale(); err != nil {
				return n, err
			}
			if !same {
				return n, errNoView
			}
			return n, nil
		case <-changed:
		}
	}
}
