package mirror

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/durable"
)

// keeping is what a process knows of the answers.
type keeping struct {
	begun bool
	since Cursor // the place in the history up to which answers are up to date
	known map[string]kept
	swept time.Time // by the clock of the machine
}

// kept is an answer as it was read.
type kept struct {
	identity
	ids   []string
	final bool
}

// sweepAnswers is how often old answers are looked for.
const sweepAnswers = time.Hour

// keep brings answers up to date with what happened to their jobs since the last time; all
// of them the first time. Then it removes those whose jobs are not kept any more.
func (d *desk) keep(ctx context.Context) error {
	next, touched := d.since, map[string]bool{}
	if !d.begun {
		end, err := d.Queue.End()
		if err != nil {
			return err
		}
		next = end
	}
	for d.begun {
		events, n, err := d.Queue.Since(ctx, next)
		if err != nil {
			return err
		}
		if next = n; len(events) == 0 {
			break
		}
		for _, e := range events {
			touched[e.ID] = true
		}
	}
	if !d.begun || len(touched) > 0 {
		if err := d.refreshAll(ctx, touched); err != nil {
			return err
		}
	}
	d.begun, d.since = true, next
	if time.Since(d.swept) < sweepAnswers {
		return nil
	}
	d.swept = time.Now()
	return d.sweepOld()
}

// list reads the answers that changed since they were read.
func (d *desk) list() ([]string, error) {
	all, err := d.answers.Names()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range all {
		name, ok := strings.CutSuffix(file, ".json")
		if !ok || strings.HasPrefix(file, ".") {
			continue
		}
		fi, err := d.answers.Lstat(file)
		if err != nil {
			continue // it is gone
		}
		names = append(names, name)
		if old, ok := d.known[name]; ok && old.identity == identityOf(fi) && time.Since(fi.ModTime()) > settled {
			continue
		}
		a, ok := d.answer(name)
		if !ok {
			d.sayOnce("answers/"+file, "requests: answers/"+file+": is no answer, and stays")
			d.known[name] = kept{identity: identityOf(fi), final: true}
			continue
		}
		d.known[name] = kept{identity: identityOf(fi), final: a.final(), ids: a.IDs}
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	for name := range d.known {
		if !there[name] {
			delete(d.known, name)
		}
	}
	return names, nil
}

// refreshAll brings the answers up to date whose jobs were touched; all of them for none.
func (d *desk) refreshAll(ctx context.Context, touched map[string]bool) error {
	names, err := d.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		k := d.known[name]
		hit := slices.ContainsFunc(k.ids, func(id string) bool { return touched[id] })
		if !hit && (k.final || len(touched) > 0) {
			continue // a failed one that is retried is hit
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.refresh(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// refresh brings one answer up to date.
func (d *desk) refresh(ctx context.Context, name string) error {
	a, ok := d.answer(name)
	if !ok {
		return nil
	}
	changed := false
	for i, r := range a.References {
		if !isID(r.ID) {
			continue
		}
		j, err := d.Queue.look(r.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was swept: what is known stays
		}
		if err != nil && passes(err) {
			return err
		}
		if err != nil {
			continue // its file is damaged, and a run says so: others are answered
		}
		if now := d.answered(ctx, r, j); now != r {
			a.References[i], changed = now, true
		}
	}
	if !changed {
		return nil
	}
	a.sum()
	return d.write(a)
}

// answered is what is to be said of a reference, by its job.
func (m *Mirror) answered(ctx context.Context, r Answered, j Job) Answered {
	out := Answered{Reference: r.Reference, Canonical: j.Canonical, ID: j.ID, State: j.State, Digest: j.Digest}
	switch j.State {
	case Waiting:
		out.Reason = string(j.Reason) + " until " + j.Until.UTC().Format(time.RFC3339)
		out.Class, out.Error = string(j.Class), cut(j.Error, maxAnswerError)
	case Failed:
		out.Class, out.Error, out.Reason = string(j.Class), cut(j.Error, maxAnswerError), cut(j.Hint, maxText)
	case Denied, Superseded, Cancelled:
		out.Reason = cut(j.Error, maxText)
	case Staged, Published:
		out.Address = m.addressOf(j)
		if out.Pinned = r.Pinned; out.Pinned == "" || r.State != j.State {
			out.Pinned = m.PinnedAt(ctx, j)
		}
	}
	return out
}

// sweepOld removes answers whose jobs are not kept any more, and what kills left.
func (d *desk) sweepOld() error {
	there, err := d.Queue.where(pendingIn, nil)
	if err != nil {
		return err
	}
	all, err := d.answers.Names()
	if err != nil {
		return err
	}
	for _, file := range all {
		if strings.HasPrefix(file, durable.PendingPrefix) {
			if fi, err := d.answers.Lstat(file); err == nil && time.Since(fi.ModTime()) > forgotten {
				_ = d.answers.Remove(file) // it does no harm
			}
			continue
		}
		name, ok := strings.CutSuffix(file, ".json")
		if !ok || !isRequest(name) {
			continue
		}
		a, ok := d.answer(name)
		kept := slices.ContainsFunc(a.IDs, func(id string) bool { _, there := there[id]; return there })
		if !ok || kept || d.Now().Sub(a.Updated) <= KeptDone {
			continue
		}
		if err := d.answers.Remove(file); err != nil {
			d.sayOnce("answers/"+file, "requests: answers/"+file+": cannot be removed: "+err.Error())
		}
	}
	return nil
}
