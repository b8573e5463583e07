package mirror

import (
	"fmt"
	"time"
)

// shutError says that the window of large images is shut. To wait for it is no failure.
type shutError struct {
	why   string
	until time.Time // it opens
}

func (e *shutError) Error() string { return e.why }

// largest refuses a content that is to wait for the window. It is asked when the manifests
// of an image are there, and before its first blob comes: so the job is pinned, and what is
// known of it is known at once. A copy that was begun goes on when the window shuts.
func (r *runner) largest(bytes int64) error {
	if now := r.Now(); r.windows && bytes > int64(r.Config.Large.Over) && !r.window.Open(now) {
		return &shutError{fmt.Sprintf("a content of %s waits for the window %s", size(bytes), r.window),
			r.window.Next(now)}
	}
	return nil
}

// early reports whether a job that waits for the window need not wait for this runner: it
// heeds no window, or it sees that it is open. The hours of the configuration, the rules of
// the zone, or the clock may have changed since the job began to wait.
func (r *runner) early(j Job) bool {
	return j.Reason == Window && (!r.windows || r.window.Open(r.Now()))
}
