package publish

import (
	"context"
	"fmt"
	"time"
)

// ClockRemedy is what to do when the clock stands before the newest line of
// the history. Which of the two is wrong, only people know.
const ClockRemedy = "set the clock; or, if it is right and was ahead before, run publish recover --clock-is-right"

// ClockIsRight is for a machine whose clock was ahead for a while: lines of the
// history have times that have not come, and until they come nothing is
// deleted. It appends a line that says that the clock is right now. All that
// began later, by what is recorded, begins now: windows (see correctTimes), the
// wait of trash and of orphans. No window ends before its length has passed. It
// tells in words what it did: nothing when nothing lies ahead.
//
// The order: what waits in trash, the orphans' ages, the history's line. A clock
// that is behind the history is so until the line is there, so whoever was told
// of it is told again, and all is done again. Numbers of generations and times
// of files keep rising.
func (r *Repo) ClockIsRight(ctx context.Context) ([]string, error) {
	if err := r.notInHook("recover"); err != nil {
		return nil, err
	}
	unlockStaging, err := r.Stage.Exclusive(ctx, "recover") // for the orphans; it comes before the other lock
	if err != nil {
		return nil, r.locks().explain(err)
	}
	defer unlockStaging()
	s, done, unlock, err := r.exclusive(ctx, actor{verb: "recover"})
	if err != nil {
		return done, err
	}
	defer unlock()
	now := r.now().UTC()
	trash, err := r.correctTrash(now)
	if err != nil {
		return done, err
	}
	if err := r.at("after-clock-trash"); err != nil {
		return done, err
	}
	orphans, err := r.orphans().correct(now)
	if err != nil {
		return done, err
	}
	if err := r.at("before-clock"); err != nil {
		return done, err
	}
	if !s.clockBehind() && trash+orphans == 0 {
		return done, nil
	}
	text := "the clock was ahead; it is right now"
	if s.clockBehind() {
		text = fmt.Sprintf("the clock was ahead, up to %s; it is right now", s.now.UTC().Format(time.RFC3339))
	}
	e := r.note(s, KindClock, text)
	e.Time = now
	if err := r.log(s.history, e); err != nil {
		return done, err
	}
	return append(done, "noted in the history that the clock is right: windows that began later begin now"),
		r.at("after-clock")
}
