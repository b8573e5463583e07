// Package notify brings notices to receivers: a webhook, a command, a file. It sends each
// once, and says whether it arrived; who asks keeps them, and tries again.
//
// An error never has a secret in it: neither the path and the query of a webhook's URL,
// which may be one, nor what it signs with, nor what it answers.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Receiver is who gets notices.
type Receiver struct {
	name   string
	key    string
	events []string
	send   func(ctx context.Context, m Message) error
}

// Message is a notice on its way.
type Message struct {
	ID    string // the same at each repetition
	Event string
	Body  []byte // JSON on one line, without a newline
}

// Timeout is how long a receiver may take.
const Timeout = 30 * time.Second

func receiver(name string, events []string, send func(context.Context, Message) error, what ...string) *Receiver {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", what))
	return &Receiver{name: name, key: hex.EncodeToString(sum[:8]), events: events, send: send}
}

// Key is a name for a folder: the same for the same receiver.
func (r *Receiver) Key() string { return r.key }

// String names the receiver for people.
func (r *Receiver) String() string { return r.name }

// Wants reports whether it is to get an event; without a list it gets all.
func (r *Receiver) Wants(event string) bool {
	return len(r.events) == 0 || slices.Contains(r.events, event)
}

// Send brings a message there, within Timeout.
func (r *Receiver) Send(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return r.send(ctx, m)
}

// refused is an error that may be about one message alone.
type refused struct{ error }

func (e refused) Unwrap() error { return e.error }

// Unwanted says that others may go well.
func (refused) Unwanted() bool { return true }
