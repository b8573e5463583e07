package serve

import (
	"log/slog"
	"sync"
)

// trouble is something that is tried again and again. It is logged when it begins to fail,
// when it fails for another reason, and when it works again.
type trouble struct {
	mu   sync.Mutex
	last string // the error; "" for none
}

// now notes the outcome of a try.
func (t *trouble) now(log *slog.Logger, what string, err error) {
	text := ""
	if err != nil {
		text = oneLine(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case text == t.last:
	case text == "":
		log.Warn("no longer: " + what)
	default:
		log.Error(what, "error", text)
	}
	t.last = text
}
