package main

import (
	"context"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
	"example.com/publish/publish/notify"
)

// told is a receiver of notices as a mirror wants it.
type told struct{ *notify.Receiver }

// Deliver brings a notice there.
func (t told) Deliver(ctx context.Context, d mirror.Delivery) error {
	return t.Send(ctx, notify.Message{ID: d.ID, Event: d.Event, Body: d.Body})
}

// receivers are those that publish.yaml names.
func receivers(r *publish.Repo) []mirror.Receiver {
	var out []mirror.Receiver
	for _, n := range r.Config.Mirror.Notify {
		var to *notify.Receiver
		switch {
		case n.Webhook != "":
			to = notify.Webhook(n.String(), n.Webhook, n.SecretIn(r.Dir), n.Events)
		case len(n.Command) > 0:
			to = notify.Command(n.String(), r.Dir, n.Command, n.Events)
		default:
			to = notify.File(n.String(), n.FileIn(r.Dir), r.CheckOutside, n.Events)
		}
		out = append(out, told{to})
	}
	return out
}
