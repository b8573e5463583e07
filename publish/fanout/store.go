package fanout

import (
	"context"
	"errors"
	"strings"

	"example.com/publish/publish"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// inStore is a target in an object store. There is no publish at the other end: this machine
// makes the uploads and the commit, from a repository of the target in .publish/stores/NAME
// of the leader. That has nothing but copies. If it is of another production than the one
// that is there, it is made anew.
type inStore struct {
	name string
	lead *publish.Repo
	host Host
}

// Sync is of Target.
func (t *inStore) Sync(ctx context.Context, lead *publish.Lead, _ publish.Setup, progress Progress) (*Outcome, error) {
	dir, setup := t.lead.SetupInStore(t.name, lead.ID)
	did, err := t.sync(ctx, lead, dir, setup, progress)
	if errors.Is(err, publish.ErrNoProduction) || errors.Is(err, generation.ErrForeign) {
		if err := durable.RemoveAll(dir); err != nil {
			return did, err
		}
		did, err = t.sync(ctx, lead, dir, setup, progress)
	}
	// What the target's repository advises is for somebody who works in it. Here it is the
	// leader's.
	if e := new(publish.Error); errors.As(err, &e) {
		e.Hint = strings.NewReplacer("publish recover --force", "publish --repo "+dir+" recover --force",
			"run publish recover", "sync again", "promote again", "sync again").Replace(e.Hint)
	}
	return did, err
}

func (t *inStore) sync(ctx context.Context, lead *publish.Lead, dir string, setup publish.Setup, progress Progress) (
	*Outcome, error) {
	r, err := t.host(ctx, dir, setup)
	if err != nil {
		return &Outcome{}, err
	}
	got, err := r.ReceiveFrom(ctx, lead, *setup.Leader, progress)
	return &Outcome{Generation: got.Generation, From: got.From, Switched: got.Switched, Redacted: got.Redacted,
		Carried: got.Carried, Sent: got.Sent, Bytes: got.Bytes, NotAtomic: got.NotAtomic, Warnings: few(got.Warnings)}, err
}
