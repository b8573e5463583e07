package mirror

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lazyregexp"
)

// taken is a file that was read, and what becomes of it.
type taken struct {
	name   string
	answer Answer
	adds   []int // the references that jobs are to be added for
	denies []int // that were denied
	want   []Request
}

// sumOf is the checksum of a file that was read; "" if it could not be.
func sumOf(data []byte, err error) string {
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// is reports whether the answer is to this file.
func (a *Answer) is(sum string, fi fs.FileInfo) bool {
	return a.SHA256 == sum && a.Modified.Equal(fi.ModTime())
}

// take takes requests by their names, and reports whether some are left for the next time.
func (d *desk) take(ctx context.Context, names []string) (more bool, err error) {
	var list []*taken
	asks := 0
	for _, name := range names {
		if asks >= maxTakenAsked {
			more = true
			break
		}
		t, err := d.read(name)
		if err != nil {
			d.postpone(name, err)
			continue
		}
		if t != nil {
			list = append(list, t)
			asks += len(t.want)
		}
	}
	err = d.ready(list)
	if err == nil {
		err = d.add(ctx, list)
	}
	if err != nil {
		for _, t := range list {
			d.later[t.name] = time.Now().Add(tryAgain)
		}
		return false, err
	}
	if err := d.at("added"); err != nil {
		return false, err
	}
	for _, t := range list {
		if err := d.write(&t.answer); err != nil {
			d.postpone(t.name, err)
			continue
		}
		if err := d.at("answered"); err != nil {
			return false, err
		}
		if err := d.done(t.name); err != nil {
			return false, err
		}
	}
	return more, nil
}

// ready returns an error if the answers could not be written now. A file without an answer
// is taken again, and would ask for the same again and again.
func (d *desk) ready(list []*taken) error {
	if len(list) == 0 {
		return nil
	}
	size := 0
	for _, t := range list {
		data, err := t.answer.encode()
		if err != nil {
			return err
		}
		size += len(data) + 4<<10
	}
	const name = durable.PendingPrefix + "probe"
	return d.unwritten(errors.Join(d.answers.WriteFile(name, make([]byte, size), 0o600),
		ignoreMissing(d.answers.Remove(name))))
}

// unwritten is the error of an answer without the name of the temporary file: that is
// another one each time, and a warning is said once.
func (d *desk) unwritten(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return fmt.Errorf("%s: no answer can be written: %w", d.answers.Path(), at.Err)
	}
	return err
}

// postpone leaves a file for a while.
func (d *desk) postpone(name string, err error) {
	d.later[name] = time.Now().Add(tryAgain)
	d.sayOnce(name, "requests: "+strconv.Quote(name)+": "+err.Error())
}

// done removes a file whose answer is there. One that cannot be removed stays, and is known.
func (d *desk) done(name string) error {
	err := d.remove(name)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		delete(d.said, name)
	case errors.As(err, new(*os.LinkError)):
		if fi, gone := d.dir.Lstat(name); gone == nil {
			d.leave(name, fi, "is answered, and cannot be removed: "+err.Error())
		}
	default:
		return err
	}
	return nil
}

// read reads a request, and decides what becomes of each of its references. The result is
// nil if there is nothing to do. The error is not the fault of the one who asks.
func (d *desk) read(name string) (*taken, error) {
	data, fi, err := d.dir.ReadSmall(name, MaxRequest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, durable.ErrTooLong):
	case errors.Is(err, durable.ErrNotRegular): // it was one a moment ago
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("cannot be read, and stays until it can be") // a chmod may follow
	case err != nil:
		return nil, err
	}
	sum := sumOf(data, err)
	if a, there := d.answer(name); there && a.is(sum, fi) {
		return nil, d.done(name) // a kill came between
	}
	who := owner(fi)
	t := &taken{name: name, answer: Answer{Request: name, Requester: who, Taken: d.Now().UTC(), SHA256: sum,
		Modified: fi.ModTime().UTC(), References: []Answered{}}}
	by := Requester{Who: who, Via: "file"}
	if strings.HasPrefix(name, HTTPPrefix) {
		by.Via = "http"
	}
	ask := &asked{}
	if err != nil {
		err = errors.New("is larger than 64 KiB")
	} else {
		ask, err = parseRequest(data)
	}
	if err != nil {
		t.answer.State, t.answer.Reason = Denied, err.Error()
		t.want = []Request{{Want: Want{Reference: name, Kind: d.Kind}, By: by}}
		return t, nil
	}
	t.answer.Note = ask.Note
	by.Note = ask.Note
	if ask.Requester != "" {
		by.Who, t.answer.Requester = ask.Requester, ask.Requester
		by.Note = strings.TrimSuffix("from "+who+": "+ask.Note, ": ")
	}
	for i, ref := range ask.References {
		r, canonical, why, err := d.judge(ask, ref, by)
		if err != nil {
			return nil, err
		}
		if canonical == "" {
			r.Reference, ref = withoutSecrets(r.Reference), withoutSecrets(ref)
		}
		t.answer.References = append(t.answer.References, Answered{Reference: ref, Canonical: canonical})
		if why != "" {
			t.denies = append(t.denies, i)
			t.answer.References[i].State, t.answer.References[i].Reason = Denied, why
		} else {
			t.adds = append(t.adds, i)
		}
		t.want = append(t.want, r)
	}
	return t, nil
}

// secretOf are the parts of a URL that may be secrets.
var secretOf = lazyregexp.New(`(://)(?:[^\s/?#]*@)?([^\s?#]*)(?:\?[^\s#]*)?`)

// withoutSecrets is a reference that cannot be read, as others may read it: in answers, in
// the queue, and in its history.
func withoutSecrets(ref string) string {
	before, after, ok := strings.Cut(ref, "@")
	digest := strings.HasPrefix(after, catalog.SHA256+":") || strings.HasPrefix(after, catalog.SHA512+":")
	if ok && !digest && strings.Contains(before, ":") && !strings.Contains(before, "/") {
		return after // a user and a password without a scheme before them
	}
	return secretOf.ReplaceAllString(ref, "$1$2")
}

// judge says what a reference asks for, and why it is denied; "" if it is not.
func (m *Mirror) judge(ask *asked, ref string, by Requester) (r Request, canonical, why string, err error) {
	r = Request{By: by, Want: Want{Reference: strings.TrimSpace(ref), Kind: m.Kind, Platforms: ask.Platforms}}
	remote, err := m.Upstream.Parse(ref)
	if err == nil {
		canonical, r.Canonical = remote.Canonical, remote.Canonical
	}
	list, err := m.Plan(Wish{References: []string{ref}, Platforms: ask.Platforms, Versions: ask.Versions,
		Filters: ask.Filters, By: by})
	if isLockFileError(err) {
		return r, canonical, "", err
	}
	if e := new(fault.Error); errors.As(err, &e) && (e.Kind == fault.Usage || e.Kind == fault.Refused) {
		why = e.Fact
		if e.Kind == fault.Usage && e.Hint != "" && !strings.Contains(e.Hint, "nothing was added") {
			why += "; " + e.Hint
		}
		return r, canonical, cmp.Or(why, e.Error()), nil
	}
	if err != nil {
		return r, canonical, "", err
	}
	r = list[0]
	if len(m.Config.Allow) == 0 {
		why = "may not come: mirror.allow is empty, and requests need a name that it has"
	}
	if err := r.check(); why == "" && err != nil {
		why = err.Error()
	}
	return r, canonical, why, nil
}

// add adds the jobs of requests, and notes what was denied.
func (d *desk) add(ctx context.Context, list []*taken) error {
	var adds []Request
	var denials []denial
	for _, t := range list {
		for _, i := range t.adds {
			adds = append(adds, t.want[i])
		}
		for _, i := range t.denies {
			denials = append(denials, denial{t.want[i], t.answer.References[i].Reason})
		}
		if len(t.answer.References) == 0 {
			denials = append(denials, denial{t.want[0], t.answer.Reason})
		}
	}
	var added []Addition
	var denied []Job
	var err error
	if len(adds) > 0 {
		if added, err = d.Queue.AddAll(ctx, adds); err != nil {
			return err
		}
	}
	if len(denials) > 0 {
		if denied, err = d.Queue.denyAll(ctx, denials); err != nil {
			return err
		}
	}
	for _, t := range list {
		for _, i := range t.adds {
			t.answer.References[i] = d.answered(ctx, t.answer.References[i], added[0].Job)
			added = added[1:]
		}
		for _, i := range t.denies {
			t.answer.References[i].ID = denied[0].ID
			denied = denied[1:]
		}
		if len(t.answer.References) == 0 {
			t.answer.IDs, t.answer.ID = []string{denied[0].ID}, denied[0].ID
			denied = denied[1:]
		}
		t.answer.sum()
	}
	return nil
}

// denial is a request that was refused.
type denial struct {
	Request
	why string
}

// denyAll notes requests that were refused, as jobs that have ended, with one sync for all.
func (q *Queue) denyAll(ctx context.Context, list []denial) ([]Job, error) {
	now := q.time()
	jobs, lines := make([]Job, len(list)), make([]Event, len(list))
	err := q.change(ctx, func() error {
		for i, r := range list {
			r.By.At = now
			r.Reference, r.Canonical = cut(r.Reference, 2<<10), cut(r.Canonical, 2<<10)
			if r.check() != nil {
				r.Platforms, r.Filters = nil, nil
			}
			id, err := q.freeID()
			if err != nil {
				return err
			}
			jobs[i] = Job{ID: id, Want: r.Want, State: Denied, Error: r.why, Requesters: []Requester{r.By.bounded()},
				Created: now.Add(time.Duration(i) * time.Microsecond), Updated: now, Finished: now}
			lines[i] = Event{}.by(Requester{Who: r.By.Who, Via: r.By.Via}).of(jobs[i])
		}
		if err := q.record(lines...); err != nil {
			return err
		}
		return q.putAll(jobs)
	})
	return jobs, err
}

// answer returns the answer to a request.
func (d *desk) answer(name string) (a *Answer, ok bool) {
	data, _, err := d.answers.ReadSmall(name+".json", maxAnswer)
	a = &Answer{}
	return a, err == nil && json.Unmarshal(data, a) == nil
}

// write writes an answer, durably, for all to read.
func (d *desk) write(a *Answer) error {
	a.Updated = d.Now().UTC()
	data, err := a.encode()
	if err != nil {
		return err
	}
	return d.unwritten(d.answers.WriteFile(a.Request+".json", data, 0o644))
}
