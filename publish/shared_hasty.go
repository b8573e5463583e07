package publish

import (
	"errors"
	"fmt"
	"os"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
)

// answerIn is how long the store may take for a byte when somebody only looks: whoever waits
// for status, or a monitor, wants to know that it does not answer.
const answerIn = 8 * time.Second

// hasten makes reads of the store give up soon, until the function that it returns is called.
// That adds to an error of the store what this machine knows without it. A server is patient:
// it goes on with what it has.
func (r *Repo) hasten() (told func(error) error) {
	b := r.shared
	if b == nil || b.follows {
		return func(err error) error { return err }
	}
	patient := b.site.Store
	b.site.Store = bucket.Hasty(patient, answerIn)
	return func(err error) error {
		b.site.Store = patient
		if e := new(Error); errors.As(err, &e) && b.present() == nil && e.Kind != Usage && e.Kind != Refused {
			if known := b.known(); known != "" {
				named := *e
				named.Hint = known
				if e.Hint != "" {
					named.Hint = e.Hint + "; " + known
				}
				return &named
			}
		}
		return err
	}
}

// known says what this machine knows of production without the store; "" for nothing.
func (b *shared) known() string {
	newest := 0
	list, _ := os.ReadDir(b.r.store.Manifests)
	for _, d := range list {
		if n, ok := generation.ParseNumber(d.Name()); ok {
			newest = max(newest, n)
		}
	}
	if newest == 0 {
		return ""
	}
	m, err := b.r.store.Manifest(newest)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("the last production that this machine has seen is generation %d, by %s at %s", newest, m.Who,
		m.Time.UTC().Format(time.RFC3339))
}
