package publish

import (
	"context"
	"iter"
	"time"

	"example.com/publish/retention"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// Most prunes of tags only plan, or delete a few files that nothing needs any more. For
// that it is enough to know what the indexes need, and the names of what is there: see
// stage.Outlined. A prune that takes tags away looks at each file, as a promote does:
// which tags a rule keeps depends on which of them have all files.

// outlined makes a survey from names; nil if staging has to be examined.
func (r *Repo) outlined(ctx context.Context, s *state, look bool) (*survey, error) {
	if _, ok := catalog.As[catalog.Tagger](r.format); !ok {
		return nil, nil
	}
	o, err := r.Stage.Outline(ctx, look)
	if o == nil || err != nil {
		return nil, err
	}
	go o.TreeID()
	sv, used, err := r.beginSurvey(s)
	if err != nil {
		return nil, err
	}
	sv.outline, sv.strays, sv.sure = o, o.Strays, !s.clockBehind()
	sv.tags.used = used.find(used.images(o))
	sv.tags.read = used.summary()
	return sv, nil
}

// pruneOutlined is prune for a plan that takes no tag away; no result if each file has to
// be looked at.
func (r *Repo) pruneOutlined(ctx context.Context, opt PruneOptions, by actor) (*PruneResult, error) {
	if _, ok := catalog.As[catalog.Outliner](r.format); !ok || opt.Apply != nil {
		return nil, nil
	}
	unlock, err := r.Stage.Exclusive(ctx, "prune")
	if err != nil {
		return nil, r.locks().explain(err)
	}
	defer func() { unlock() }()
	s, err := r.recovered(ctx, by)
	if err != nil {
		return nil, err
	}
	r.lighten(s)
	if _, err := r.ensureID(); err != nil {
		return nil, err
	}
	sv, err := r.outlined(ctx, s, false)
	if sv == nil || err != nil {
		return nil, err
	}
	plan := r.planned(s, sv)
	if opt.Plan || len(plan.Remove)+len(plan.Orphans) == 0 {
		return &PruneResult{Plan: *plan, DryRun: opt.Plan}, r.remember(s, sv, sv.strays, sv.images())
	}
	if len(plan.Remove) > 0 {
		return nil, nil
	}
	if still, err := sv.outline.Still(); !still || err != nil {
		return nil, err
	}
	return r.enact(ctx, s, sv, plan, opt, by, func() { unlock(); unlock = func() {} })
}

// images are the tags that are there, and what each stands for.
func (sv *survey) images() iter.Seq2[catalog.Name, string] {
	if sv.outline == nil {
		return named(sv.checked.Catalog.Images)
	}
	return func(yield func(catalog.Name, string) bool) {
		for i := range sv.outline.Images {
			if x := &sv.outline.Images[i]; !yield(x.Of(), x.Digest) {
				return
			}
		}
	}
}

func named(images []catalog.Image) iter.Seq2[catalog.Name, string] {
	return func(yield func(catalog.Name, string) bool) {
		for i := range images {
			if !yield(images[i].Of(), images[i].Fingerprint) {
				return
			}
		}
	}
}

// images are those of an outline, for find; none if no inventory names any.
func (u *uses) images(o *stage.Outlined) []catalog.Image {
	if len(u.names)+len(u.heads) == 0 {
		return nil
	}
	out := make([]catalog.Image, len(o.Images))
	for i := range o.Images {
		x := &o.Images[i]
		out[i] = catalog.Image{Product: x.Product, Version: x.Version, Digests: o.Digests(i)}
	}
	return out
}

// outlined is tagged for an outline.
func (sv *survey) outlined(now time.Time) []retention.Tag {
	o := sv.outline
	out := make([]retention.Tag, len(o.Images))
	for i := range o.Images {
		x, t := &o.Images[i], &out[i]
		*t = retention.Tag{Repository: x.Product, Tag: x.Version, Ref: sv.format.Ref(x.Of()), Digest: x.Digest,
			Complete: true, Seen: sv.tags.seen.since(x.Of(), x.Digest, now), Rank: x.Rank, Exempt: x.Exempt}
		if len(sv.tags.used) > 0 {
			t.Used = sv.tags.used[x.Of()]
		}
		o.Each(i, func(blob int) {
			there := o.There[blob]
			if there {
				t.Bytes += o.Blobs.At(blob).Size
			}
			t.Complete = t.Complete && there && !o.Lost(blob)
		})
	}
	return out
}

// onlyOutlined is onlyTags for an outline.
func (sv *survey) onlyOutlined(drop func(catalog.Name) bool) (total int64) {
	o := sv.outline
	const dropped, kept = 1, 2
	needed := make([]byte, o.Blobs.Len()) // by whom
	for i := range o.Images {
		by := byte(kept)
		if drop(o.Images[i].Of()) {
			by = dropped
		}
		o.Each(i, func(blob int) { needed[blob] |= by })
	}
	sizes := map[catalog.Sum]int64{} // a tree stores a content once: see frees
	for i, by := range needed {
		switch b := o.Blobs.At(i); {
		case by != dropped || !o.There[i]:
		case len(o.Blobs.Dirs) == 1: // no other path has the content
			total += b.Size
		default:
			sizes[b.Sum] = b.Size
		}
	}
	if len(sizes) == 0 {
		return total
	}
	for i, by := range needed {
		if by&kept != 0 && o.There[i] {
			delete(sizes, o.Blobs.At(i).Sum)
		}
	}
	for _, size := range sizes {
		total += size
	}
	return total
}
