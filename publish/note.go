package publish

import "example.com/publish/publish/journal"

// note is an event that is no switch, without its body.
func (r *Repo) note(s *state, kind EventKind, message string) Event {
	e := Event{Head: journal.Head{Time: s.now, Kind: kind, Who: r.who(), Message: message}}
	if s.current != nil {
		e.Generation, e.From, e.Origin = s.current.Generation, s.current.From, s.current.Origin
	}
	return e
}
