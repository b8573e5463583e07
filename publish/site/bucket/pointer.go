package bucket

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/lazyregexp"
)

const (
	version     = 1
	remembered  = 64 // commits in the pointer
	maxDepth    = 31 // of a manifest
	maxPointer  = 64 << 20
	member      = "publish"
	generations = "_publish/generations/"
	events      = "_publish/events/"
	files       = "_publish/files/"
	raw         = "_publish/raw/"
	lists       = "_publish/gc/"
	birthKey    = "_publish/repository.json"
	turnKey     = "_publish/turn"
)

// encode returns the object that the pointer is: the document, with the member "publish" as
// its last one. decode gives back both, byte for byte.
func (p *Pointer) encode() ([]byte, error) {
	doc := p.Document
	if len(doc) == 0 {
		doc = []byte("{}")
	}
	if len(doc) > maxPointer {
		return nil, fmt.Errorf("the document for clients has %d bytes; the pointer may have %d", len(doc), maxPointer)
	}
	s, err := scan(doc)
	if err != nil {
		return nil, fmt.Errorf("the document for clients %w", err)
	}
	if s.value != nil {
		return nil, fmt.Errorf("the document for clients has a member %q, which is ours", member)
	}
	ours, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(doc)+len(ours)+len(member)+4)
	out = append(out, doc[:s.end]...)
	if s.members > 0 {
		out = append(out, ',')
	}
	out = append(append(append(out, '"'), member...), `":`...)
	out = append(append(out, ours...), doc[s.end:]...)
	if len(out) > maxPointer {
		return nil, fmt.Errorf("the pointer has %d bytes; it may have %d", len(out), maxPointer)
	}
	return out, nil
}

// decode reads what encode wrote. repository is whose it must be; "" for anybody's. The
// error wraps ErrForeign if publish did not write it, generation.ErrNewer, or ErrDamaged.
func decode(body []byte, repository string) (*Pointer, error) {
	s, err := scan(body)
	if err != nil {
		return nil, fmt.Errorf("%w, or was overwritten by somebody else: it %w", ErrForeign, err)
	}
	if s.value == nil {
		return nil, fmt.Errorf("%w, or was overwritten by somebody else: it has no member %q", ErrForeign, member)
	}
	var who struct {
		Version    int    `json:"version"`
		Repository string `json:"repository"`
	}
	if err := json.Unmarshal(s.value, &who); err != nil || who.Version < 1 || who.Repository == "" {
		return nil, fmt.Errorf("%w: its member %q is not ours", ErrForeign, member)
	}
	if repository != "" && who.Repository != repository {
		return nil, fmt.Errorf("%w, but by %s", ErrForeign, who.Repository)
	}
	if who.Version > version {
		return nil, generation.ErrNewer
	}
	p := &Pointer{}
	d := json.NewDecoder(bytes.NewReader(s.value))
	d.DisallowUnknownFields() // a commit would lose what a newer version put there
	if err := d.Decode(p); err != nil {
		if strings.Contains(err.Error(), "unknown field") {
			return nil, fmt.Errorf("%w: %w", generation.ErrNewer, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	p.Document = slices.Concat(body[:s.before], body[s.after:])
	again, err := p.encode()
	if err == nil && !bytes.Equal(again, body) {
		err = errors.New("another program has rewritten it")
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return p, nil
}

// scanned is what scan finds in a JSON object.
type scanned struct {
	members       int
	end           int    // where its last brace is
	value         []byte // of the member "publish"; nil if there is none
	before, after int    // where that member begins, with its comma, and ends
}

// scan reads a JSON object that has no member twice.
func scan(text []byte) (s scanned, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return s, errors.New("is not a JSON object")
	}
	seen := map[string]bool{}
	for ; d.More(); s.members++ {
		at := int(d.InputOffset())
		t, err := d.Token()
		if err != nil {
			return s, fmt.Errorf("is not JSON: %w", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return s, fmt.Errorf("is not JSON: %w", err)
		}
		key, _ := t.(string)
		if seen[key] {
			return s, fmt.Errorf("has a member %q twice", key)
		}
		seen[key] = true
		if key == member {
			s.value, s.after = value, int(d.InputOffset())
			s.before = at + len(text[at:]) - len(bytes.TrimLeft(text[at:], " \t\r\n"))
		}
	}
	if _, err := d.Token(); err != nil {
		return s, fmt.Errorf("is not JSON: %w", err)
	}
	s.end = int(d.InputOffset()) - 1
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s, errors.New("has more behind its end")
	}
	return s, nil
}

var (
	nonceText     = lazyregexp.New(`^[0-9a-z]{8,40}$`)
	generationKey = lazyregexp.New(`^_publish/generations/([0-9]{6,18})-([0-9a-z]{8,40})$`)
	eventKey      = lazyregexp.New(`^_publish/events/([0-9]{6,18})-([0-9a-z]{8,40})$`)
	listKey       = lazyregexp.New(`^_publish/gc/[0-9a-z]{8,40}$`)
)

// check refuses a pointer that no commit makes.
func (p *Pointer) check() error {
	switch {
	case p.Version != version:
		return fmt.Errorf("it is of version %d", p.Version)
	case p.Seq < 0 || p.Generation < 0 || p.Collections < 0:
		return errors.New("it has a negative number")
	case (p.Generation == 0) != (p.Manifest == nil):
		return fmt.Errorf("it has the generation %d, and a manifest, or none", p.Generation)
	case p.Manifest != nil && p.Manifest.Generation != p.Generation:
		return fmt.Errorf("its manifest is of generation %d, and not %d", p.Manifest.Generation, p.Generation)
	case len(p.Commits) == 0 || len(p.Commits) > remembered:
		return fmt.Errorf("it has %d commits", len(p.Commits))
	case p.Commits[len(p.Commits)-1] != Done{p.Seq, p.Nonce, p.Generation}:
		return errors.New("its last commit is not its own")
	case p.Event != "" && !eventKey.MatchString(p.Event):
		return fmt.Errorf("%q is no event", p.Event)
	case p.Graves != "" && !isSum(p.Graves):
		return fmt.Errorf("%q is no digest", p.Graves)
	case slices.ContainsFunc(p.Left, func(n int) bool { return n < 0 || n >= p.Generation }):
		return errors.New("it names a generation before itself that is none")
	case p.Obeyed != "" && !isSum(p.Obeyed):
		return fmt.Errorf("%q is no digest", p.Obeyed)
	case p.Condemned != nil && !listKey.MatchString(p.Condemned.Key):
		return fmt.Errorf("%q is no list", p.Condemned.Key)
	}
	for i, c := range p.Commits {
		if c.Seq != p.Commits[0].Seq+i || c.Seq < 0 || !nonceText.MatchString(c.Nonce) {
			return fmt.Errorf("it has a commit %d-%q", c.Seq, c.Nonce)
		}
	}
	return p.checkRefs()
}

func (p *Pointer) checkRefs() error {
	depths := map[string]int{}
	for _, list := range [][]Ref{p.Kept, p.Bases} {
		for i, ref := range list {
			if ref.Generation >= p.Generation || i > 0 && ref.Generation <= list[i-1].Generation {
				return fmt.Errorf("it has generation %d at a wrong place", ref.Generation)
			}
		}
	}
	for _, ref := range p.refs() {
		_, twice := depths[ref.Key]
		if twice || !generationKey.MatchString(ref.Key) || ref.Generation < 1 || ref.Bytes < 0 ||
			ref.Depth < 0 || ref.Depth > maxDepth || (ref.Depth == 0) != (ref.Base == "") ||
			!isSum(ref.SHA256) || !isSum(ref.Seal) {
			return fmt.Errorf("it has a manifest %q", ref.Key)
		}
		depths[ref.Key] = ref.Depth
	}
	for _, ref := range p.refs() {
		if depth, ok := depths[ref.Base]; ref.Base != "" && (!ok || depth != ref.Depth-1) {
			return fmt.Errorf("it lacks the manifest %q, from which %q differs", ref.Base, ref.Key)
		}
	}
	return nil
}

// Manifests are all manifests that the pointer names: of production, of what is kept, and
// those from which these differ.
func (p *Pointer) Manifests() []Ref { return p.refs() }

// refs are all manifests that the pointer names.
func (p *Pointer) refs() []Ref {
	all := slices.Concat(p.Bases, p.Kept)
	if p.Manifest != nil {
		all = append(all, *p.Manifest)
	}
	return all
}

// Ref returns the manifest of a generation that is production or kept.
func (p *Pointer) Ref(generation int) (Ref, bool) {
	if p.Manifest != nil && p.Generation == generation {
		return *p.Manifest, true
	}
	i := slices.IndexFunc(p.Kept, func(r Ref) bool { return r.Generation == generation })
	if i < 0 {
		return Ref{}, false
	}
	return p.Kept[i], true
}

// keep makes these the kept generations, of all that p names, and the rest bases as far as
// these or production need them. It returns what nothing needs any more.
func (p *Pointer) keep(stays func(Ref) bool) (gone []Ref) {
	all := p.refs()
	byKey := map[string]Ref{}
	for _, ref := range all {
		byKey[ref.Key] = ref
	}
	needed := map[string]bool{}
	need := func(ref Ref) {
		for ; !needed[ref.Key] && ref.Key != ""; ref = byKey[ref.Base] {
			needed[ref.Key] = true
		}
	}
	var kept []Ref
	for _, ref := range p.Kept {
		if stays(ref) {
			kept = append(kept, ref)
			need(ref)
		}
	}
	if p.Manifest != nil {
		need(*p.Manifest)
	}
	var bases []Ref
	for _, ref := range all {
		isProduction := p.Manifest != nil && ref.Key == p.Manifest.Key
		isKept := slices.ContainsFunc(kept, func(k Ref) bool { return k.Key == ref.Key })
		switch {
		case isProduction || isKept:
		case needed[ref.Key]:
			bases = append(bases, ref)
		default:
			gone = append(gone, ref)
		}
	}
	slices.SortFunc(bases, func(a, b Ref) int { return a.Generation - b.Generation })
	p.Kept, p.Bases = kept, bases
	return gone
}

// after returns a pointer that differs from p only by one commit.
func (p *Pointer) after(nonce string) *Pointer {
	next := *p
	next.Version, next.Seq, next.Nonce, next.ETag = version, p.Seq+1, nonce, ""
	next.Kept, next.Bases = slices.Clone(p.Kept), slices.Clone(p.Bases)
	return &next
}

// done completes the pointer of a commit: it adds the commit to the list.
func (p *Pointer) done() {
	list := append(slices.Clone(p.Commits), Done{p.Seq, p.Nonce, p.Generation})
	p.Commits = list[max(0, len(list)-remembered):]
}

// has reports whether a commit is among the last ones, and whether it would be there.
func (p *Pointer) has(seq int, nonce string) (done, known bool) {
	for _, c := range p.Commits {
		if c.Seq == seq {
			return c.Nonce == nonce, true
		}
	}
	return false, p.Seq < seq
}

func isSum(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == 32 && strings.ToLower(s) == s
}
