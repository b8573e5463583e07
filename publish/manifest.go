package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

type (
	// Manifest is the sealed list of what a generation holds.
	Manifest = generation.Manifest
	// Head is a manifest's first part.
	Head = generation.Head
	// Carried is a path that the tree no longer has.
	Carried = generation.Carried
	// Revoked is one content that was revoked.
	Revoked = generation.Revoked
	// Named is a version that was revoked and had no content of its own.
	Named = generation.Named
)

func (r *Repo) manifestPath(n int) string { return r.path(".publish", "manifests", number(n)) }

// manifest reads the manifest of generation n. The one that was read last is
// remembered: a verb reads production's before it has the lock, and again with
// it. Nobody changes what this returns.
func (r *Repo) manifest(n int) (*Manifest, error) {
	path := r.manifestPath(n)
	fi, err := os.Stat(path)
	if err == nil && r.read.m != nil && r.read.m.Generation == n && r.read.state == tree.StatOf(fi) {
		return r.read.m, nil
	}
	var text string
	if err == nil {
		text, err = durable.ReadText(path, maxRecord)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(r.keptHint(), "there is no generation %d, or it is not kept any more", n)
	}
	if err != nil {
		return nil, err
	}
	m, err := generation.Decode(text)
	if err == nil && m.Generation != n {
		err = fmt.Errorf("it is of generation %d", m.Generation)
	}
	if errors.Is(err, errNewer) {
		return nil, &Error{Path: path, Err: err, Hint: "use a newer publish; nothing was changed. If none was used here, move the file away and run publish recover"}
	}
	if err != nil {
		return nil, &Error{Path: path, Err: err, Hint: "run publish recover; if it is production's, it is made anew from what production serves"}
	}
	r.read.m, r.read.state = m, tree.StatOf(fi)
	return m, nil
}

func (r *Repo) writeManifest(m *Manifest) error {
	return durable.WriteWith(r.manifestPath(m.Generation), 0o644, m.Encode)
}
