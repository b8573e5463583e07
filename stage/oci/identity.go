package oci

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"example.com/publish/stage/catalog"
)

// An entry of index.json records where its image came from, in annotations, so that
// the record travels with every copy. All the world reads it: it has no path, no
// address of a host that is no part of the name, and no credential.
const (
	imageName       = "io.containerd.image.name" // the whole name, by containerd
	requestedNote   = "com.example.publish.requested"
	defaultedNote   = "com.example.publish.tag-defaulted" // "true"
	pinnedNote      = "com.example.publish.pinned-digest"
	platformsNote   = "com.example.publish.platforms" // os/arch[/variant], with commas
	stagedNote      = "com.example.publish.staged-at" // RFC 3339, UTC, seconds
	sourceNote      = "com.example.publish.source"
	movedNote       = "com.example.publish.moved-from" // the digest before
	notesNamespace  = "com.example.publish."
	maxSource       = 200 // bytes
	maxStaleMessage = 100
)

// identity is what an entry records.
type identity struct {
	Requested string    // as somebody wrote it
	Defaulted bool      // the tag is latest since none was written
	Pinned    string    // the digest that was written with the tag; "" for none
	Platforms platforms // those that were picked of an index; nil: all
	StagedAt  time.Time // zero where nobody recorded it
	Source    string    // its canonical name, or a file's base name
	MovedFrom string    // the digest that the tag stood for before; "" for none
}

// identity is what an entry of a repository records. Tools copy annotations when
// they give an image another tag: stale then says what contradicts the tag or the
// repository, and nothing is believed.
func (e *descriptor) identity(repository string) (id identity, stale string) {
	tag, _ := e.tag()
	own := catalog.Name{Group: repository, Version: tag}
	if tag == "" {
		own.Version = "@" + e.Digest
	}
	for _, key := range []string{imageName, requestedNote, refName} {
		text, ok := e.Annotations.get(key)
		if !ok || key == refName && !strings.ContainsAny(text, "/:") || (Format{}).ParseRef(text) == own ||
			key == requestedNote && asked(text, e.Annotations.of(sourceNote)) {
			continue
		}
		r, err := ParseReference(text)
		if err != nil || r.Repository != repository || r.Tag != tag || tag == "" && r.Digest.String() != e.Digest {
			return identity{}, key + " is " + shorten(text)
		}
	}
	notes := e.Annotations
	id = identity{Requested: notes.of(requestedNote), Defaulted: notes.of(defaultedNote) == "true",
		Pinned: notes.of(pinnedNote), Source: notes.of(sourceNote), MovedFrom: notes.of(movedNote)}
	if text, ok := notes.get(platformsNote); ok {
		id.Platforms, _ = parsePlatforms(strings.Split(text, ","))
	}
	if at := notes.of(stagedNote); at != "" {
		id.StagedAt, _ = time.Parse(time.RFC3339, at)
	}
	return id, ""
}

// asked reports whether what somebody asked for is the name on a server that the image
// came from. It may lie in the tree under another name.
func asked(requested, source string) bool {
	from, err := ParseReference(source)
	if err != nil {
		return false
	}
	r, err := ParseReference(requested)
	return err == nil && r.Repository == from.Repository && r.Tag == from.Tag
}

// shorten is a text from outside for a message.
func shorten(s string) string {
	s = catalog.Show(s)
	if len(s) > maxStaleMessage {
		s = strings.ToValidUTF8(s[:maxStaleMessage], "") + "..."
	}
	return s
}

// recording returns an entry that is called r and records id. What others wrote
// into its annotations stays.
func (e entry) recording(r Reference, id identity) (entry, error) {
	return e.annotated(func(notes map[string]string) {
		maps.DeleteFunc(notes, func(key, _ string) bool { return strings.HasPrefix(key, notesNamespace) })
		named(notes, r)
		set := func(key, value string) {
			if value != "" {
				notes[key] = value
			}
		}
		set(requestedNote, id.Requested)
		if id.Defaulted {
			notes[defaultedNote] = "true"
		}
		set(pinnedNote, id.Pinned)
		set(platformsNote, id.Platforms.String())
		if !id.StagedAt.IsZero() {
			notes[stagedNote] = id.StagedAt.UTC().Truncate(time.Second).Format(time.RFC3339)
		}
		set(sourceNote, id.Source)
		set(movedNote, id.MovedFrom)
	})
}

// called returns an entry with a name: the tag in one annotation, as the layout
// specification says, and all of it in another, for engines that load an archive.
func (e entry) called(r Reference) (entry, error) {
	return e.annotated(func(notes map[string]string) { named(notes, r) })
}

// named writes a name into annotations.
func named(notes map[string]string, r Reference) {
	delete(notes, refName)
	notes[imageName] = r.Name()
	if r.Tag != "" {
		notes[refName] = r.Tag
	}
}

// annotated returns an entry with other annotations.
func (e entry) annotated(change func(notes map[string]string)) (entry, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(e.raw, &members); err != nil {
		return e, err
	}
	notes := e.Annotations.table()
	change(notes)
	text, err := json.Marshal(notes)
	if err != nil {
		return e, err
	}
	members["annotations"] = text
	raw, err := json.Marshal(members)
	e.raw, e.Annotations = raw, notesOf(notes)
	return e, err
}

// settle returns a new entry of a repository as it is to stand in place of before,
// the entry that has its tag; nil for none. The same image, asked for in the same
// way, stays as it stands: so staging it again changes nothing.
func (e entry) settle(repository string, before *entry) (entry, error) {
	if before == nil {
		return e, nil
	}
	id, _ := e.identity(repository)
	tag, _ := e.tag()
	r := Reference{Repository: repository, Tag: tag}
	if tag == "" {
		r.Digest, _ = catalog.ParseDigest(e.Digest)
	}
	if before.Digest != e.Digest {
		id.MovedFrom = before.Digest
		return e.recording(r, id)
	}
	old, stale := before.identity(repository)
	id.MovedFrom = old.MovedFrom
	id.Platforms = id.Platforms.and(old.Platforms)
	if stale == "" && old.Requested != "" {
		again := id
		again.StagedAt, again.Source = old.StagedAt, old.Source
		same, err := e.recording(r, again)
		if err != nil || sameEntry(same, *before) {
			return *before, err
		}
	}
	return e.recording(r, id)
}

// sourceName is what may be told of where an image was: the base name of a file.
func sourceName(what string) string {
	base := path.Base(path.Clean(strings.ReplaceAll(what, "\\", "/")))
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if base == "." || base == "/" || base == ".." || base == "-" || strings.ContainsFunc(base, odd) {
		return ""
	}
	return strings.ToValidUTF8(base[:min(len(base), maxSource)], "")
}

// platform is os/architecture[/variant].
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

func (p platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// known reports whether it is one on which something runs.
func (p platform) known() bool { return p.OS != "" && p.OS != "unknown" && p.Architecture != "unknown" }

// platforms are those that somebody picked; nil: all.
type platforms []platform

// parsePlatforms reads what people write.
func parsePlatforms(list []string) (platforms, error) {
	var out platforms
	for _, text := range list {
		parts := strings.Split(text, "/")
		odd := func(part string) bool { return part == "" || strings.Trim(part, platformLetters) != "" }
		if len(parts) < 2 || len(parts) > 3 || slices.ContainsFunc(parts, odd) {
			return nil, catalog.Usage("write it as linux/amd64 or linux/arm/v7", "--platform: %s is no platform",
				catalog.Show(text))
		}
		p := platform{OS: parts[0], Architecture: parts[1]}
		if len(parts) == 3 {
			p.Variant = parts[2]
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b platform) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

const platformLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

func (ps platforms) String() string {
	list := make([]string, len(ps))
	for i, p := range ps {
		list[i] = p.String()
	}
	return strings.Join(list, ",")
}

// has reports whether a platform was picked. One without a variant stands for all
// variants.
func (ps platforms) has(p platform) bool {
	return ps == nil || slices.ContainsFunc(ps, func(q platform) bool {
		return q.OS == p.OS && q.Architecture == p.Architecture && (q.Variant == "" || q.Variant == p.Variant)
	})
}

// and are the platforms that are there after both were picked.
func (ps platforms) and(more platforms) platforms {
	if ps == nil || more == nil {
		return nil
	}
	all := strings.Split(ps.String()+","+more.String(), ",")
	out, _ := parsePlatforms(all)
	return out
}

// attestation is the annotation with which an index says which of its manifests
// another one is about.
const attestation = "vnd.docker.reference.digest"

// of returns which manifests of an index are picked: those of the platforms, what
// is about them, and what names no platform.
func (ps platforms) of(list []descriptor) []bool {
	out := make([]bool, len(list))
	digests := map[string]bool{}
	for i, d := range list {
		if out[i] = d.Platform == nil || ps.has(*d.Platform); out[i] {
			digests[d.Digest] = true
		}
	}
	for i, d := range list {
		out[i] = out[i] || digests[d.Annotations.of(attestation)]
	}
	return out
}
