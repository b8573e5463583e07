package catalog

import "context"

// TagLister is an Upstream whose images have tags that it can list.
type TagLister interface {
	// Tags asks the server for all tags of a Remote's name. There is no order, and
	// each is there once. What is no tag is left out: strangers choose them. The error
	// is a *RemoteError, a *UsageError, or what ctx said.
	Tags(ctx context.Context, r Remote) ([]string, error)
	// Tagged returns the Remote with another tag, and without a digest. It asks nobody.
	// The error is a *UsageError.
	Tagged(r Remote, tag string) (Remote, error)
}
