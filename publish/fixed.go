package publish

import (
	"context"

	"example.com/publish/stage/catalog"
)

// MayStandFor returns an error of kind Refused if a name never moves, see immutable_tags,
// and stands for another digest in production, or stood for one before it left. A promote
// would refuse that. It takes no lock.
func (r *Repo) MayStandFor(ctx context.Context, name, digest string) error {
	if len(r.Config.ImmutableTags) == 0 {
		return nil
	}
	var moved []catalog.Finding
	if err := r.steady(ctx, func(s *state) (err error) {
		moved, err = r.movedBy(ctx, s, []catalog.Unit{{Key: name, Digest: digest}})
		return err
	}); err != nil || len(moved) == 0 {
		return err
	}
	return &Error{Kind: Refused, Fact: moved[0].Message,
		Hint: "ask for it under another name, or take the pattern out of immutable_tags in publish.yaml"}
}
