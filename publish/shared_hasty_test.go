package publish

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/buckettest"
)

// mute is a store that does not answer reads, or answers what says that it is in trouble
// and is asked again for very long.
type mute struct {
	*buckettest.Memory
	says error // nil: nothing
}

func (m *mute) Get(ctx context.Context, key string, _ bucket.Get) (*bucket.Object, error) {
	<-ctx.Done()
	if m.says != nil {
		return nil, m.says
	}
	return nil, ctx.Err()
}

// Who looks gets an answer soon, also if the store gives none: its error, and what is known
// here. Other commands wait.
func TestSharedStatusOfAMuteStore(t *testing.T) {
	m := newMachine(t, newStore(), "ada")
	m.put(map[string]string{"a/1": "one"})
	m.promote()
	for want, says := range map[string]error{"has not answered for 8s": nil, "says 503": errors.New("the store says 503")} {
		m.via = &mute{m.store, says}
		synctest.Test(t, func(t *testing.T) {
			for name, look := range map[string]func(r *Repo) error{
				"status":  func(r *Repo) error { _, err := r.Status(ctx); return err },
				"measure": func(r *Repo) error { _, err := r.Measure(ctx); return err },
			} {
				r, begin := m.repo(), time.Now()
				err, e := look(r), new(Error)
				if took := time.Since(begin); took < time.Second || took > 10*time.Second {
					t.Errorf("%s: answers after %v", name, took)
				}
				if !errors.As(err, &e) || e.Kind != Failed || !strings.HasPrefix(err.Error(), inStore) ||
					!strings.Contains(err.Error(), want) || !strings.Contains(e.Hint, "generation 1, by ada") {
					t.Errorf("%s: %#v", name, err)
				}
				if _, ok := r.shared.site.Store.(*mute); !ok {
					t.Error("the store stays hasty")
				}
			}
			patient, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			if _, err := m.repo().Promote(patient, PromoteOptions{}); patient.Err() == nil {
				t.Errorf("a promote has not waited: %v", err)
			}
		})
	}
	m.via = nil
	if st, err := m.repo().Status(ctx); err != nil || st.Production.Generation != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}
