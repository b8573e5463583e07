package publish

import (
	"context"
	"fmt"
	"time"

	"example.com/publish/publish/journal"
)

// ClockRemedy says what to do if the clock is behind the newest line of the history.
// Only a person can decide which of the two is wrong.
const ClockRemedy = "set the clock; or, if it is right and was ahead before, run publish recover --clock-is-right"

// ClockIsRight corrects the records of a machine whose clock was ahead for a while.
// The history then has lines with times in the future, and nothing is deleted until
// those times have passed. ClockIsRight appends a line that says that the clock is
// right now. Everything recorded as beginning in the future begins now instead:
// windows (see package journal), and the waiting times of trash and orphans. No window
// becomes shorter than its length. It returns sentences that say what it did; none if
// there was nothing to correct.
//
// The order is trash, orphans, history. Until the line is in the history, the clock
// counts as behind. So if the command is killed, the warning stays, and running it
// again repeats every step. Generation numbers and file times keep rising.
func (r *Repo) ClockIsRight(ctx context.Context) ([]string, error) {
	if r.shared != nil {
		return nil, &Error{Kind: Usage, Path: r.Production(),
			Fact: "times there are those of the object store's clock, and no clock of a machine counts",
			Hint: "leave --clock-is-right out"}
	}
	if err := r.allows("recover"); err != nil {
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
	tags, err := r.tagged().correct(now)
	if err != nil {
		return done, err
	}
	if err := r.at("before-clock"); err != nil {
		return done, err
	}
	if !s.clockBehind() && trash+orphans+tags == 0 {
		return done, nil
	}
	text := "the clock was ahead; it is right now"
	if s.clockBehind() {
		text = fmt.Sprintf("the clock was ahead, up to %s; it is right now", s.now.UTC().Format(time.RFC3339))
	}
	e := r.note(s, journal.KindClock, text)
	e.Time = now
	if err := r.log(s.history, e); err != nil {
		return done, err
	}
	return append(done, "noted in the history that the clock is right: windows that began later begin now"),
		r.at("after-clock")
}
