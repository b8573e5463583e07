package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lazyregexp"
)

// A prune of tags leaves a record in .publish/undo with what it takes out of the
// documents. It is durable before anything changes, so whatever a killed prune has
// removed can be brought back. It has a sealed line for each field: lists of prunes
// read the first one only.
type undoRecord struct {
	Undoable
	tags   []undoneTag
	format json.RawMessage // what the format says
}

// Undoable is a prune of tags that can be undone.
type Undoable struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"` // UTC
	Tags int       `json:"tags"`
}

// undoneTag is a tag that a prune removed.
type undoneTag struct {
	Product string    `json:"product"`
	Version string    `json:"version"`
	Digest  string    `json:"digest"`
	Since   time.Time `json:"since"` // see firstTagged
}

func (t undoneTag) name() catalog.Name { return catalog.Name{Group: t.Product, Version: t.Version} }

// Bounds on the records. The newest one stays however large it is.
const (
	maxUndo      = 512 << 20 // bytes, of one that is read
	maxUndos     = 1000
	maxUndoBytes = 256 << 20 // of all
)

// idDigits is how many digits of the plan's hash are the id of a prune.
const idDigits = 12

var undoID = lazyregexp.New(`^[0-9a-f]{12,64}$`)

func (r *Repo) undoPath(id string) string { return r.path(".publish", "undo", id) }

// saveUndo writes the record of what a plan removes, and returns its id.
func (r *Repo) saveUndo(ctx context.Context, sv *survey, p *Plan) (id string, err error) {
	u := undoRecord{Undoable: Undoable{p.PlanHash[:idDigits], p.Time, len(p.Remove)}}
	for _, d := range p.Remove {
		t := undoneTag{Product: d.Product, Version: d.Version, Digest: d.Digest}
		t.Since = sv.tags.seen.since(t.name(), d.Digest, sv.now)
		u.tags = append(u.tags, t)
	}
	src, done, err := r.Stage.Contents(ctx, true)
	if err != nil {
		return "", err
	}
	u.format, err = sv.tags.tagger.Saved(ctx, src, p.removes())
	if err = errors.Join(err, done()); err != nil {
		return "", err
	}
	var lines []byte
	for _, v := range []any{u.Undoable, u.tags} {
		text, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		lines = append(lines, durable.Line(text)...)
	}
	lines = append(lines, durable.Line(u.format)...)
	path := r.undoPath(u.ID)
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	r.trimUndos(filepath.Dir(path))
	return u.ID, errors.Join(durable.WriteFile(path, lines, 0o644), durable.SyncDir(r.path(".publish")))
}

// trimUndos deletes the oldest records, so that one more has room.
func (r *Repo) trimUndos(dir string) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var infos []fs.FileInfo
	for _, e := range list {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() {
			infos = append(infos, fi)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var bytes int64
	for i, fi := range infos {
		if bytes += fi.Size(); i >= maxUndos-1 || bytes > maxUndoBytes {
			_ = os.Remove(filepath.Join(dir, fi.Name())) // one that stays takes space, and nothing else
		}
	}
}

// Undos returns the prunes that have a record, newest first. It takes no lock.
func (r *Repo) Undos() []Undoable {
	list, err := os.ReadDir(filepath.Dir(r.undoPath("x")))
	if err != nil {
		return nil
	}
	var out []Undoable
	for _, e := range list {
		if u, ok := r.undoable(e.Name()); ok {
			out = append(out, u)
		}
	}
	slices.SortStableFunc(out, func(a, b Undoable) int { return b.Time.Compare(a.Time) })
	return out
}

// undoable reads the first line of a record.
func (r *Repo) undoable(id string) (u Undoable, ok bool) {
	f, err := durable.Open(r.undoPath(id))
	if err != nil {
		return u, false
	}
	defer f.Close()
	head := make([]byte, 1024)
	n, _ := io.ReadFull(f, head)
	line, _, _ := bytes.Cut(head[:n], []byte{'\n'})
	text, ok := durable.Unline(line)
	return u, ok && json.Unmarshal(text, &u) == nil
}

// readUndo reads a record.
func (r *Repo) readUndo(id string) (*undoRecord, error) {
	none := notFound("publish history --kind prune lists the prunes; the records of old ones are deleted",
		"%s: there is no such prune of tags", catalog.Show(id))
	if !undoID.MatchString(id) {
		return nil, none
	}
	path := r.undoPath(id[:idDigits])
	data, err := durable.ReadFile(path, maxUndo)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, none
	}
	if err != nil {
		return nil, err
	}
	var u undoRecord
	whole := true
	for _, v := range []any{&u.Undoable, &u.tags, &u.format} {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte{'\n'})
		text, ok := durable.Unline(line)
		whole = whole && ok && json.Unmarshal(text, v) == nil
	}
	if !whole || u.Tags != len(u.tags) {
		return nil, &Error{Path: path, Fact: "the record of the prune is damaged", Hint: "nothing was changed"}
	}
	return &u, nil
}

// UndoResult is what an undo of a prune brings back.
type UndoResult struct {
	ID       string         `json:"id"`
	Restored []journal.Back `json:"restored"` // that were gone
	There    []journal.Back `json:"there"`    // that were there already
	Verified bool           `json:"verified"` // what was restored is whole in staging; false in a dry run
	DryRun   bool           `json:"dry_run"`
}

// Undo names the tags again in staging that a prune removed. Their age is what it was.
// It changes nothing that is there, so a second undo does nothing. It returns an error
// of kind NotFound if a file of them is gone, and of kind Refused if one of the tags
// stands for something else now; then nothing is brought back.
//
// A crash between any two steps leaves a valid staging tree, and another undo goes on:
//
//  1. append the history line and flush it
//  2. record the ages of the tags, and that their files are no orphans
//  3. write the documents, by Stage.Apply
func (r *Repo) Undo(ctx context.Context, id string, dry bool) (*UndoResult, error) {
	if err := r.allows("prune"); err != nil {
		return nil, err
	}
	tagger, ok := catalog.As[catalog.Tagger](r.format)
	if !ok {
		return nil, &Error{Kind: Usage, Fact: fmt.Sprintf("a prune of the format %s cannot be undone", r.Config.Format),
			Hint: "production still has what was pruned: publish stage reset takes it from there"}
	}
	u, err := r.readUndo(id)
	if err != nil {
		return nil, err
	}
	if !dry {
		if err := r.ownersOnly(dryForAll); err != nil {
			return nil, err
		}
		unlock, err := r.Stage.Exclusive(ctx, "prune")
		if err != nil {
			return nil, r.locks().explain(err)
		}
		defer unlock()
	}
	back, err := r.nameAgain(ctx, tagger, u.format)
	if err != nil {
		return nil, interrupted(err)
	}
	res := &UndoResult{ID: u.ID, DryRun: dry, Restored: []journal.Back{}, There: []journal.Back{}}
	there := catalog.Names{}
	for _, n := range back.There {
		there[n] = true
	}
	for _, t := range u.tags {
		b := journal.Back{Product: t.Product, Version: t.Version, Digest: t.Digest,
			Ref: catalog.OwnRef(r.format, t.name())}
		if there[t.name()] {
			res.There = append(res.There, b)
		} else {
			res.Restored = append(res.Restored, b)
		}
	}
	byRef := func(a, b journal.Back) int { return strings.Compare(a.Called(), b.Called()) }
	slices.SortFunc(res.Restored, byRef)
	slices.SortFunc(res.There, byRef)
	if dry {
		return res, nil
	}
	if len(back.Documents) > 0 {
		if err := r.carryBack(context.WithoutCancel(ctx), u, back, res); err != nil {
			return nil, &Error{Fact: "the undo did not finish; staging is valid, and production is unchanged",
				Hint: "run it again: it continues", Err: err}
		}
	}
	v := proof{present: map[catalog.Name]string{}, whole: catalog.Names{}}
	for _, t := range u.tags {
		v.present[t.name()], v.whole[t.name()] = t.Digest, true
	}
	if err := r.prove(ctx, v); err != nil {
		return res, err
	}
	res.Verified = true
	return res, nil
}

// nameAgain asks the format for the documents.
func (r *Repo) nameAgain(ctx context.Context, tagger catalog.Tagger, record []byte) (*catalog.Restoration, error) {
	src, done, err := r.Stage.Contents(ctx, true)
	if err != nil {
		return nil, err
	}
	back, err := tagger.Restore(ctx, src, record)
	err = errors.Join(err, done())
	moved, gone := new(catalog.MovedError), new(catalog.GoneError)
	switch {
	case errors.As(err, &moved):
		return nil, refuse("take it out of staging first; nothing was changed", "%s: stands for %s now",
			r.format.Ref(moved.Name), moved.Now)
	case errors.As(err, &gone):
		return nil, r.cannotUndo(gone)
	}
	return back, err
}

// cannotUndo is the error for content of a pruned tag that staging does not have any more.
func (r *Repo) cannotUndo(gone *catalog.GoneError) error {
	graves, err := r.graveyard()
	if err != nil {
		return err
	}
	// The format found the content by its digest, so its path stands for it.
	if s := graves.OverFile(gone.Path, gone.Digest.Hex); s != nil {
		return &Error{Kind: NotFound, Path: gone.Path, Fact: "was revoked " + s.Reason(),
			Hint: "what was revoked cannot be brought back, and nothing was changed; for another tag of that prune: " +
				"publish export REF --in N | publish stage add -, if generation N has it"}
	}
	return &Error{Kind: NotFound, Fact: "staging does not have all files of the tags any more", Err: gone,
		Hint: "while production has them, publish stage reset brings back all that it serves"}
}

// carryBack executes an undo. The caller holds the staging lock.
func (r *Repo) carryBack(ctx context.Context, u *undoRecord, back *catalog.Restoration, res *UndoResult) error {
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "prune"})
	if err != nil {
		return err
	}
	e := r.note(s, journal.KindPrune, "")
	e.Body = &journal.Prune{Undo: u.ID, Restored: res.Restored}
	err = r.log(s.history, e)
	unlock()
	if err == nil {
		err = r.at("after-undo-history")
	}
	if err != nil {
		return err
	}
	seen, err := r.tagged().read()
	if err != nil {
		return err
	}
	for _, t := range u.tags {
		if _, ok := seen[t.name()]; !ok {
			seen[t.name()] = tagSighting{t.Since.UTC(), t.Digest}
		}
	}
	strays, err := r.orphans().read()
	if err != nil {
		return err
	}
	for _, i := range back.Images {
		for _, p := range i.Paths {
			delete(strays, p)
		}
	}
	if err := errors.Join(r.tagged().write(seen), r.orphans().write(strays)); err != nil {
		return err
	}
	if err := r.at("after-undo-records"); err != nil {
		return err
	}
	if err := r.Stage.Apply(back.Documents); err != nil {
		return err
	}
	return r.at("after-undo-indexes")
}
