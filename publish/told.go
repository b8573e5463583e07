package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// The objects that commands print with --json and that the pages of a server have as
// well.

// Listed is an image in a list.
type Listed struct {
	Product     string     `json:"product"`
	Version     string     `json:"version"`
	Type        string     `json:"type"`
	Fingerprint string     `json:"fingerprint"`
	Aliases     []string   `json:"aliases"`
	Bytes       int64      `json:"bytes"`
	Created     *time.Time `json:"created"`           // null where the version's name has no time
	Skipped     string     `json:"skipped,omitempty"` // why clients skip it
	Ref         string     `json:"ref,omitempty"`     // what people write; "" for product/version

	more any // what only the format knows, as further members; nil for nothing
}

// listedOf returns the object for an image.
func (r *Repo) listedOf(i catalog.Image, more any) Listed {
	l := Listed{i.Product, i.Version, i.Type, i.Fingerprint, append([]string{}, i.Aliases...), i.Bytes, nil, i.Skipped,
		i.Ref, more}
	if !i.Created.IsZero() {
		created := i.Created.UTC().Truncate(time.Second)
		l.Created = &created
	}
	if d, ok := more.(catalog.Hosted); ok && len(r.Config.ServedAs) > 0 {
		d.ServedAs(r.Config.ServedAs[0])
	}
	return l
}

// MarshalJSON puts the members that only the format knows behind the others.
func (l Listed) MarshalJSON() ([]byte, error) {
	type members Listed
	own, err := object(members(l))
	if err != nil || l.more == nil {
		return own, err
	}
	more, err := object(l.more)
	if err != nil || len(more) < 2 || string(more) == "{}" || string(more) == "null" {
		return own, err
	}
	return append(append(own[:len(own)-1], ','), more[1:]...), nil
}

// object returns a value as JSON, with < and & as they are.
func object(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// EachListed calls tell with the object for each image of a List of the same tree.
func (r *Repo) EachListed(ctx context.Context, name string, images []catalog.Image, tell func(Listed) error) error {
	if _, ok := catalog.As[catalog.Describer](r.format); !ok {
		return r.eachListed(ctx, nil, images, tell)
	}
	src, err := r.source(ctx, name)
	if err != nil {
		return err
	}
	defer src.Close()
	return r.eachListed(ctx, src, images, tell)
}

// EachListedIn is EachListed for the images that a view has.
func (r *Repo) EachListedIn(
	ctx context.Context, v *generation.View, images []catalog.Image, tell func(Listed) error,
) error {
	return r.eachListed(ctx, v.Contents(), images, tell)
}

func (r *Repo) eachListed(
	ctx context.Context, src catalog.Source, images []catalog.Image, tell func(Listed) error,
) error {
	if f, ok := catalog.As[catalog.Describer](r.format); ok {
		return f.Describe(ctx, src, images, func(n int, more any) error { return tell(r.listedOf(images[n], more)) })
	}
	for _, i := range images {
		if err := tell(r.listedOf(i, nil)); err != nil {
			return err
		}
	}
	return nil
}

// Told is an event of the history.
type Told struct {
	journal.Record
	GraceMS int64 `json:"grace_ms,omitempty"` // of a switch: grace_seconds
}

// Tell returns the object for an event.
func Tell(e journal.Event) Told {
	r := e.Record()
	return Told{r, r.Grace * 1000}
}

// Checked is the report of a validation or verification.
type Checked struct {
	Findings []catalog.Finding `json:"findings"`
	Checked  CheckedSums       `json:"checked"`
	Redacted []string          `json:"redacted"` // paths that were revoked
}

// CheckedSums is what was looked at.
type CheckedSums struct {
	Files       int   `json:"files"`
	Bytes       int64 `json:"bytes"`
	HashedBytes int64 `json:"hashed_bytes"`
}

// CheckedOf returns the object for a report.
func CheckedOf(r *stage.Report) Checked {
	return Checked{append([]catalog.Finding{}, r.Findings...), CheckedSums{r.Files, r.Bytes, r.HashedBytes},
		append([]string{}, r.Redacted...)}
}

// Validated is the report of a validation of staging, without uploads and other files that
// no index names: those are only counted.
type Validated struct {
	Checked
	LeftOut stage.LeftOut `json:"left_out"`
}

// ValidatedOf returns the object for a report.
func ValidatedOf(r *stage.Report) Validated {
	left := r.LeftOut
	left.Examples = append([]string{}, left.Examples...)
	return Validated{CheckedOf(r), left}
}
