package publish

import (
	"context"
	"iter"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// List returns the images of staging, of production, or of a kept generation given by
// its number. They are sorted. Images that clients skip are included; revoked ones are
// not. For a tree without indexes it returns the files. It takes no lock and writes
// nothing.
//
// The error is of kind NotFound for a generation that is not kept, and for production
// before the first promote.
func (r *Repo) List(ctx context.Context, name string) ([]catalog.Image, error) {
	if name == "staging" {
		return r.Stage.List(ctx)
	}
	var images []catalog.Image
	err := r.glance(ctx, name, func(_ *state, g *generation.View) (err error) {
		images, _, err = r.imagesOf(ctx, g)
		return err
	})
	return images, err
}

// imagesOf is List for one generation, with its catalog.
func (r *Repo) imagesOf(ctx context.Context, g *generation.View) ([]catalog.Image, *catalog.Catalog, error) {
	cat, err := r.format.Read(ctx, g.Contents())
	if err != nil {
		return nil, nil, err
	}
	graves, err := r.graveyard()
	if err != nil {
		return nil, nil, err
	}
	gone, unnamed := map[string]bool{}, graves.Unnamed(g.Generation)
	var files []catalog.Image
	for _, row := range g.Own {
		switch {
		case graves.Redacted(g.Generation, row):
			gone[row.Path] = true
		case r.format.Class(row.Path) == catalog.Whole:
			i := catalog.Image{Product: row.Path, Type: "file", Aliases: []string{}, Bytes: row.Size,
				Paths: []string{row.Path}}
			if row.Role == catalog.Link {
				i.Type = "link"
			}
			if fi, err := g.Lstat(row.Path); err == nil { // only its time is needed
				i.Created = fi.ModTime().UTC().Truncate(time.Second)
			}
			files = append(files, i)
		}
	}
	// The indexes of a redacted tree still name the revoked images.
	images := slices.DeleteFunc(slices.Clone(cat.Images), func(i catalog.Image) bool {
		revoked := slices.ContainsFunc(i.Paths, func(p string) bool { return gone[p] })
		return revoked || i.Fingerprint == "" && unnamed[i.Of()]
	})
	return append(images, files...), cat, nil
}

// Shown describes one generation. Times are UTC.
type Shown struct {
	Generation int  `json:"generation"`
	Live       bool `json:"live"` // it is production
	Origin     int  `json:"origin"`
	From       int  `json:"from"` // the generation before; 0 for none
	// Time, Kind, Who and Message are those of the switch that made it.
	Time    time.Time    `json:"time"`
	Kind    journal.Kind `json:"kind"`
	Who     string       `json:"who"`
	Message string       `json:"message"`
	Health  string       `json:"health"` // as in the history
	TreeID  string       `json:"tree_id"`
	Format  string       `json:"format"`
	// Added, Removed and Changed are versions; files of a plain tree.
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
	// Files and Bytes are of its own rows, without those that were revoked.
	Files   int          `json:"files"`
	Bytes   int64        `json:"bytes"`
	Carried CarriedState `json:"carried"` // rows whose window is open
	// Until and KeptBy are as in Kept; for production both are empty.
	Until  *time.Time `json:"until"`
	KeptBy KeptBy     `json:"kept_by"`
	Pinned bool       `json:"pinned"`
	Pin    *HoldState `json:"pin"` // who pinned it, since when and why; null unless it is pinned
	// Redacted are the paths of own rows that were revoked after it was made.
	Redacted []string `json:"redacted"`
	// Revoked is the content that the switch to this generation revoked.
	Revoked []Revoked `json:"revoked"`
	Grace   int64     `json:"grace_ms"` // recorded when it was made
}

// Show describes production, or a kept generation given by its number. It takes no
// lock and writes nothing. The errors are those of List.
func (r *Repo) Show(ctx context.Context, name string) (*Shown, error) {
	if name == "staging" {
		return nil, &Error{Kind: Usage, Path: name, Fact: "is not a generation",
			Hint: "publish list staging and publish status report what is staged"}
	}
	var out *Shown
	err := r.glance(ctx, name, func(s *state, g *generation.View) (err error) {
		out, err = r.show(s, &g.Tree)
		return err
	})
	return out, err
}

func (r *Repo) show(s *state, g *generation.Tree) (*Shown, error) {
	out := &Shown{Generation: g.Generation, Live: s.current != nil && s.current.Generation == g.Generation,
		Origin: g.Origin, From: g.From,
		Time: g.Time.UTC(), Kind: journal.Kind(g.Kind), Who: g.Who, Message: g.Message,
		Health: s.history.Health(g.Generation), TreeID: g.TreeID, Format: g.Format,
		Added: noNil(g.Added), Removed: noNil(g.Removed), Changed: noNil(g.Changed), Redacted: []string{},
		Revoked: noNil(g.Manifest.Revoked),
		Grace:   g.Grace * 1000}
	if e, ok := s.history.Made(g.Generation); ok {
		if out.Time = e.Time.UTC(); out.Health == "" {
			out.Health = e.Health
		}
	}
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	for _, row := range g.Own {
		if graves.Redacted(g.Generation, row) {
			out.Redacted = append(out.Redacted, row.Path)
			continue
		}
		out.Files++
		out.Bytes += row.Size
	}
	if err := r.know(s, g); err != nil {
		return nil, err
	}
	out.Carried = carriedNow(s, g, graves)
	if e, ok := s.history.Pin(g.Generation); ok {
		out.Pinned, out.Pin = true, &HoldState{e.Who, e.Time, e.Message}
	}
	if out.Live || s.current == nil {
		return out, nil
	}
	kept, err := r.beside(s)
	if err != nil {
		return nil, err
	}
	t := r.tenures(s.history, kept, s.windows)[g.Generation]
	out.Until, out.KeptBy = t.End(), t.By
	return out, nil
}

// CarriedFiles are what production serves for clients of earlier generations.
type CarriedFiles struct {
	Generation int `json:"generation"`
	CarriedState
	List []CarriedFile `json:"carried"` // by path
}

// CarriedFile is one of them.
type CarriedFile struct {
	Path    string     `json:"path"`
	Bytes   int64      `json:"bytes"`
	SHA256  string     `json:"sha256"`
	Dropped int        `json:"dropped"` // the first generation without it
	Until   *time.Time `json:"until"`   // when gc may delete it; null if the history does not say
}

// Carried returns the carried files of production that were not revoked and whose window
// is open. It takes no lock and writes nothing. The errors are those of List.
func (r *Repo) Carried(ctx context.Context) (*CarriedFiles, error) {
	var out *CarriedFiles
	err := r.glance(ctx, "production", func(s *state, g *generation.View) error {
		graves, err := r.graveyard()
		if err != nil {
			return err
		}
		out = &CarriedFiles{Generation: g.Generation, CarriedState: carriedNow(s, &g.Tree, graves), List: []CarriedFile{}}
		for c, until := range carriedOf(s, &g.Tree, graves) {
			out.List = append(out.List, CarriedFile{c.Path, c.Size, c.SHA256, c.Dropped, until})
		}
		return nil
	})
	return out, err
}

// carriedNow sums up what a generation carries and holds that was not revoked and whose
// window is open.
func carriedNow(s *state, g *generation.Tree, graves *tombstone.Graveyard) CarriedState {
	var out CarriedState
	open := func(dropped int, row tree.Row) bool {
		if !s.windows.Open(dropped, s.now) || graves.Redacted(g.Generation, row) {
			return false
		}
		if end, ok := s.windows.End(dropped); ok && (out.NextExpiry == nil || end.Before(*out.NextExpiry)) {
			end = end.UTC().Truncate(time.Second)
			out.NextExpiry = &end
		}
		return true
	}
	for _, c := range g.Carried {
		if open(c.Dropped, c.Row) {
			out.Files++
			out.Bytes += c.Size
		}
	}
	for _, h := range g.Held {
		if open(h.Dropped, tree.Row{SHA256: h.Digest.Hex}) {
			out.Held++
		}
	}
	return out
}

// carriedOf yields the carried rows of a generation that were not revoked and whose
// window is open, with its end; nil if the history does not say.
func carriedOf(
	s *state, g *generation.Tree, graves *tombstone.Graveyard,
) iter.Seq2[*generation.Carried, *time.Time] {
	return func(yield func(*generation.Carried, *time.Time) bool) {
		ends := map[int]*time.Time{}
		for i := range g.Carried {
			c := &g.Carried[i]
			if !s.windows.Open(c.Dropped, s.now) || graves.Redacted(g.Generation, c.Row) {
				continue
			}
			until, known := ends[c.Dropped]
			if !known {
				if end, ok := s.windows.End(c.Dropped); ok {
					end = end.UTC().Truncate(time.Second)
					until = &end
				}
				ends[c.Dropped] = until
			}
			if !yield(c, until) {
				return
			}
		}
	}
}
