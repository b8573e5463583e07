package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
)

// Remove removes images from the indexes of staging. Their files stay, as orphans,
// until a prune. In a tree without indexes it moves the files to the directory
// trash; if staging is sparse, they are also in RemovedList. Each string of what is a
// [catalog.What], or a digest of a file that the images need. It returns the removed images.
// If one string matches no image, it returns ErrNotFound and changes nothing.
func (s *Stage) Remove(ctx context.Context, trash string, what ...string) ([]catalog.Image, error) {
	unlock, err := s.Exclusive(ctx, "stage remove")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if out, done, err := s.removeOutlined(ctx, what); done || err != nil {
		return out, err
	}
	cat, err := s.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	images, err := s.listed(ctx, cat)
	if err != nil {
		return nil, err
	}
	type key struct{ product, version, fingerprint, paths string }
	keyOf := func(i catalog.Image) key {
		k := key{i.Product, i.Version, i.Fingerprint, ""}
		if i.Fingerprint == "" {
			k.paths = strings.Join(i.Paths, "\n")
		}
		return k
	}
	gone := map[key]bool{}
	var out []catalog.Image
	for _, w := range what {
		what, found := catalog.WhatIn(s.Format, w), false
		take := func(has func(catalog.Image) bool) {
			for _, i := range images {
				if !has(i) {
					continue
				}
				found = true
				if k := keyOf(i); !gone[k] {
					gone[k] = true
					out = append(out, i)
				}
			}
		}
		take(what.ImageOrPath)
		if !found {
			take(needing(cat, what))
		}
		if !found {
			return nil, fmt.Errorf("%s: %w", w, ErrNotFound)
		}
	}
	src, done, err := s.Contents(ctx, false)
	if err != nil {
		return nil, err
	}
	var docs []catalog.Document
	err = s.rewrite(ctx, func() (err error) {
		docs, err = s.Format.Without(ctx, src, func(i catalog.Image) bool { return gone[keyOf(i)] })
		return err
	})
	if err = errors.Join(err, done()); err != nil {
		return nil, err
	}
	if err := s.Apply(docs); err != nil {
		return nil, err
	}
	var files []string
	for _, i := range out {
		for _, p := range i.Paths {
			if s.Format.Class(p) == catalog.Whole {
				files = append(files, p)
			}
		}
	}
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, err
	}
	if err := sp.forget(s, files); err != nil { // before: what is gone then stays gone
		return nil, err
	}
	return out, s.discard(ctx, files, trash)
}

// removeOutlined is Remove of images that are told by their names or digests, where no
// other image or file can be meant and none of the content has to be looked at; else it is
// not done.
func (s *Stage) removeOutlined(ctx context.Context, what []string) (out []catalog.Image, done bool, err error) {
	o, err := s.outline(ctx, false, false)
	if o == nil || err != nil {
		return nil, false, err
	}
	gone := map[int]bool{}
	for _, w := range what {
		what, found := catalog.WhatIn(s.Format, w), false
		for i := range o.Images {
			x := &o.Images[i]
			image := catalog.Image{Product: x.Product, Version: x.Version, Ref: s.Format.Ref(x.Of()), Type: o.Type,
				Fingerprint: x.Digest, Aliases: []string{}}
			if !what.Image(image) {
				continue
			}
			if found = true; !gone[i] {
				gone[i] = true
				o.Each(i, func(blob int) { image.Bytes += o.Blobs.At(blob).Size })
				out = append(out, image)
			}
		}
		if !found {
			return nil, false, nil
		}
	}
	return out, true, s.Apply(o.Without(func(i int) bool { return gone[i] }))
}

// needing reports of an image whether it needs a file with the hash that a word names; of a
// word that is a group with a digest, only of the images of that group.
func needing(cat *catalog.Catalog, what catalog.What) func(catalog.Image) bool {
	files := map[string]catalog.Item{}
	for _, i := range cat.Items {
		files[i.Path] = i
	}
	return func(i catalog.Image) bool {
		digest, ok := what.In(i.Product)
		if !ok {
			digest = what
		}
		return slices.ContainsFunc(i.Paths, func(p string) bool {
			return digest.Hash(files[p].SHA256) || digest.Hash(files[p].SHA512)
		})
	}
}
