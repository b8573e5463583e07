package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
)

// The health check of a production that many machines switch: the commit of a switch says who
// checks, and until when at the latest (pending). Until then nobody else promotes, and nobody
// else checks. What decides is the pointer:
//
//	the process has ended, on this host     anybody here takes the check over at once
//	its time is over                        any machine with a health check takes it over;
//	                                        one without goes on promoting
//	it comes back late                      its result does not count, and it reverts nothing
//
// Who takes it over says so first, by a commit, so that of two machines one checks.

// healthSlack is how long after its time limit a health check of another machine counts
// as ended, without a result.
const healthSlack = 30 * time.Second

// mine is the entry of a check that this process begins now.
func (b *shared) mine(now time.Time) *bucket.Pending {
	return &bucket.Pending{Who: b.me(), Until: now.Add(time.Duration(b.r.Config.HealthCheck.Timeout) + healthSlack)}
}

// checking refuses a promote while another machine runs its health check.
func (b *shared) checking(s *state) error {
	at := b.present()
	if s.current == nil || at.Pending == nil || b.mayCheck() {
		return nil
	}
	who, _ := processOf(at.Pending)
	return &Error{Kind: Locked, Fact: fmt.Sprintf("the health check of generation %d runs, by %s",
		s.current.Generation, who), Hint: "wait for it to end: at " +
		at.Pending.Until.UTC().Format(timeOfDay) + " at the latest"}
}

const timeOfDay = "15:04:05 MST"

// mayCheck reports whether nobody else is running the health check that is pending.
func (b *shared) mayCheck() bool {
	at := b.present()
	if at.Pending == nil || at.Pending.Who == b.me() || at.Date.After(at.Pending.Until) {
		return true
	}
	_, process := processOf(at.Pending)
	return stage.Ended(process)
}

// processOf is who checks, and in which process; see me.
func processOf(p *bucket.Pending) (who, process string) {
	i := max(0, strings.LastIndexByte(p.Who, '@'))
	return p.Who[:i], strings.TrimPrefix(p.Who[i:], "@")
}

// takeCheck makes the pending health check that of this process. It returns false if another
// machine was first.
func (b *shared) takeCheck(ctx context.Context, s *state) (bool, error) {
	on := b.present()
	if on.Pending != nil && on.Pending.Who == b.me() {
		return true, nil
	}
	c, err := b.step(s.history, on)
	if err != nil {
		return false, err
	}
	c.Pending = b.mine(latest(s.now, on.Date))
	_, err = b.commit(ctx, on, c)
	if moved := new(bucket.MovedError); errors.As(err, &moved) {
		return false, nil
	}
	return err == nil, err
}

// goBack reverts a generation that failed its health check, while it is production, and its
// check is that of this process.
func (b *shared) goBack(ctx context.Context, s *state, failed *generation.Tree, revert func() error) error {
	for {
		p, err := b.pointer(ctx, 0)
		if err != nil {
			return err
		}
		if p.Generation != failed.Generation || p.Pending == nil || p.Pending.Who != b.me() {
			return errors.New("another machine has switched, or ended the check, because its time was over")
		}
		now, err := b.state(ctx, p)
		if err != nil {
			return err
		}
		*s = *now
		if err := revert(); !errors.Is(err, bucket.ErrMoved) {
			return err
		}
	}
}
