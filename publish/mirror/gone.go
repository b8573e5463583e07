package mirror

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// orHere is for what came of a pin. If the server does not have the locked digest any more,
// the image may be here: in staging, in production, or among what was fetched. Then the
// pin is made from the bytes that are here.
func (r *runner) orHere(ctx context.Context, c *Claimed, pin *catalog.Pin, h *held, err error) error {
	if h.locked == "" || h.digest != h.locked || !classIs(err, catalog.NotFound) {
		return err
	}
	j := c.Job()
	data, ok := r.manifestHere(j, h.pinned)
	if !ok {
		return goneUpstream(j, err)
	}
	format, ok := catalog.As[catalog.Puller](r.Repo.Stage.Format)
	if !ok {
		return goneUpstream(j, err)
	}
	m, bad := format.Manifest(data)
	if bad != nil {
		return goneUpstream(j, err)
	}
	h.gone = true
	*pin = catalog.Pin{Digest: h.pinned, MediaType: m.MediaType, Size: int64(len(data))}
	return c.Update(func(j *Job) { j.MediaType = m.MediaType })
}

// goneUpstream is an error that says that the server does not have a locked image any more.
func goneUpstream(j Job, err error) error {
	remote := new(catalog.RemoteError)
	_ = errors.As(err, &remote)
	hint := followHint(j)
	if strings.HasSuffix(j.Canonical, "@"+j.Digest) {
		hint = "ask for another digest of it"
	}
	return &catalog.RemoteError{Class: catalog.Drift, Host: remote.Host,
		Err: fmt.Errorf("%w; the lock file has it, and it is not here", err), Hint: hint}
}

// lost makes an error of a copy that of an image which is gone, where it is one: not all of
// it was here. One with a hint is about something else, such as a platform.
func (h *held) lost(j Job, err error) error {
	remote := new(catalog.RemoteError)
	if h.gone && errors.As(err, &remote) && remote.Class == catalog.NotFound && remote.Hint == "" {
		return goneUpstream(j, err)
	}
	return err
}

// manifestHere returns the bytes of a manifest that this side has.
func (r *runner) manifestHere(j Job, d catalog.Digest) ([]byte, bool) {
	content := NewContent(ContentOptions{Dir: dir(r.Repo, "content"), Elsewhere: r.inTrees(j)})
	at, ok := content.Path(d)
	if !ok {
		return nil, false
	}
	data, err := durable.ReadFile(at, int64(r.Config.Limits.Manifest))
	if err != nil {
		return nil, false
	}
	sum, err := d.New()
	if err != nil {
		return nil, false
	}
	sum.Write(data)
	return data, hex.EncodeToString(sum.Sum(nil)) == d.Hex
}

// inTrees returns a function that finds a content in staging and in production, in the part
// of the tree where the image of a job lies. Nobody has looked at the bytes for long: who
// reads the file checks the digest.
func (r *runner) inTrees(j Job) func(catalog.Digest) (string, bool) {
	format, ok := catalog.As[catalog.Puller](r.Repo.Stage.Format)
	if !ok {
		return func(catalog.Digest) (string, bool) { return "", false }
	}
	group := r.Repo.Stage.Format.ParseRef(r.NameOf(j.Canonical)).Group
	return func(d catalog.Digest) (string, bool) {
		blob := filepath.FromSlash(format.BlobAt(path.Join(group, "x"), d))
		for _, tree := range []string{r.Repo.Stage.Dir, r.Repo.Production()} {
			if at := filepath.Join(tree, blob); regular(at) {
				return at, true
			}
		}
		return "", false
	}
}
