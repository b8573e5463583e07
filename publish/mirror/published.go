package mirror

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
)

// Settle brings a staged job up to date with production: it is published once production
// has the name with that digest, by whichever promote.
func (m *Mirror) Settle(ctx context.Context, j Job) (Job, error) {
	if j.State != Staged {
		return j, nil
	}
	if m.selector() != nil {
		return m.settleSelected(ctx, j)
	}
	there, err := m.Repo.Resolve(ctx, "production", m.NameOf(j.Canonical), "")
	if e := new(fault.Error); errors.As(err, &e) && (e.Kind == fault.NotFound || e.Kind == fault.Invalid) {
		return j, nil
	}
	if err != nil || there.Digest != j.Digest || !covers(there, j) {
		return j, err
	}
	j.State, j.Address, j.Generation = Published, m.at(there.Ref), m.generation()
	return j, nil
}

// generation is the number of production; "" if it cannot be read.
func (m *Mirror) generation() string {
	v, err := m.Repo.OpenProduction()
	if err != nil {
		return ""
	}
	defer v.Close()
	return strconv.Itoa(v.Generation)
}

// covers reports whether an image in the tree has the platforms that a job is about: an
// index has the same digest with fewer of them.
func covers(there *catalog.Resolved, j Job) bool {
	if len(there.Platforms) == 0 {
		return true
	}
	return len(j.Platforms) > 0 && !slices.ContainsFunc(j.Platforms, func(p string) bool {
		return !slices.Contains(there.Platforms, p) && !slices.Contains(j.MissingPlatforms, p)
	})
}

// SettleAll has all staged jobs brought up to date, durably. It is for those who run jobs:
// others call Settle for what they print.
func (m *Mirror) SettleAll(ctx context.Context) error {
	list, _, err := m.Queue.List(Staged)
	if err != nil {
		return err
	}
	for _, j := range list {
		now, err := m.Settle(ctx, j)
		if err != nil {
			return err
		}
		if now.State != Published {
			continue
		}
		now, err = m.Queue.Amend(ctx, j.ID, func(j *Job) error {
			j.State, j.Address, j.Generation = now.State, now.Address, now.Generation
			return nil
		})
		if err != nil {
			return err
		}
		m.tell(now)
	}
	return nil
}
