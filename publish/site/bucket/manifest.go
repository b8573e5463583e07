package bucket

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"example.com/publish/publish/generation"
)

// deltaMagic begins a manifest that says what differs from another one: below it a line with
// a delta as JSON, and the delta's lines. A whole manifest is its text. Both are compressed.
const deltaMagic = "publish-manifest-delta 1\n"

// delta is the head of such a manifest.
type delta struct {
	Base Ref    `json:"base"`
	Seal string `json:"seal"` // of what comes out
	Size int    `json:"size"`
}

// Manifest returns the manifest of a reference, from the cache where it is there.
func (s *Site) Manifest(ctx context.Context, ref Ref) (*generation.Manifest, error) {
	text, err := s.text(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := generation.Decode(text)
	if err == nil && (m.Seal != ref.Seal || m.Generation != ref.Generation) {
		err = fmt.Errorf("%w: it is of another generation", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Key, err)
	}
	s.recall(ref, text)
	return m, nil
}

// recall remembers the text of a manifest.
func (s *Site) recall(ref Ref, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.texts[ref.SHA256]; there {
		return
	}
	if len(s.order) == texts {
		delete(s.texts, s.order[0])
		s.order = s.order[1:]
	}
	if s.texts == nil {
		s.texts = map[string]string{}
	}
	s.texts[ref.SHA256] = text
	s.order = append(s.order, ref.SHA256)
}

// texts is how many manifests are remembered as text: the next one differs from the last.
const texts = 2

// text returns the text of a manifest: of the whole one at the end of its chain, with the
// differences up to ref.
func (s *Site) text(ctx context.Context, ref Ref) (string, error) {
	var chain []string // deltas, the last one first
	var sizes []int
	text, err := "", error(nil)
	for at := ref; ; {
		s.mu.Lock()
		known, ok := s.texts[at.SHA256]
		s.mu.Unlock()
		if ok {
			text = known
			break
		}
		plain, err := s.object(ctx, at)
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(plain, deltaMagic) {
			if at.Depth != 0 {
				return "", fmt.Errorf("%s: %w: it is whole", at.Key, ErrDamaged)
			}
			text = plain
			break
		}
		d, rest, err := parseDelta(plain)
		if err == nil && (d.Seal != at.Seal || d.Base.Depth != at.Depth-1 || d.Base.Key != at.Base) {
			err = fmt.Errorf("%w: it is not what the pointer says", ErrDamaged)
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", at.Key, err)
		}
		chain, sizes = append(chain, rest), append(sizes, d.Size)
		at = d.Base
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if text, err = patch(text, chain[i], sizes[i]); err != nil {
			return "", fmt.Errorf("%s: %w", ref.Key, err)
		}
	}
	return text, nil
}

func parseDelta(plain string) (d delta, rest string, err error) {
	head, rest, ok := strings.Cut(strings.TrimPrefix(plain, deltaMagic), "\n")
	if err := json.Unmarshal([]byte(head), &d); err != nil || !ok {
		return d, "", fmt.Errorf("%w: it has no head", ErrDamaged)
	}
	if !generationKey.MatchString(d.Base.Key) || d.Base.Depth < 0 || d.Base.Depth >= maxDepth || d.Size < 0 ||
		d.Size > maxFile {
		return d, "", fmt.Errorf("%w: it has a wrong head", ErrDamaged)
	}
	return d, rest, nil
}

// object returns the unpacked object of a reference.
func (s *Site) object(ctx context.Context, ref Ref) (string, error) {
	var plain []byte
	_, err := s.cached(ctx, "manifest-"+ref.SHA256, ref.Key, maxFile, func(data []byte) (err error) {
		if sumOf(data) != ref.SHA256 {
			return fmt.Errorf("%w: it has other bytes", ErrDamaged)
		}
		plain, err = unpack(data, maxFile)
		return err
	})
	return string(plain), err
}

// draw returns the object of a manifest that follows base, and its reference without the
// digest: what differs from base, or all of it if the chain is long or that is not much less.
func (s *Site) draw(ctx context.Context, base *Ref, m *generation.Manifest, nonce string) (Ref, []byte, error) {
	var b strings.Builder
	if err := m.Encode(&b); err != nil {
		return Ref{}, nil, err
	}
	text := b.String()
	if len(text) > maxFile {
		return Ref{}, nil, fmt.Errorf("the manifest has %d bytes; it may have %d", len(text), maxFile)
	}
	ref := Ref{Generation: m.Generation, Key: fmt.Sprintf("%s%06d-%s", generations, m.Generation, nonce), Seal: m.Seal}
	plain := text
	if base != nil && base.Depth < maxDepth {
		old, err := s.text(ctx, *base)
		if err != nil {
			s.warn(fmt.Sprintf("the manifest is written whole: %v", err))
		} else if d := diff(old, text); len(d) <= len(text)/4 {
			head, err := json.Marshal(delta{Base: *base, Seal: m.Seal, Size: len(text)})
			if err != nil {
				return Ref{}, nil, err
			}
			plain = deltaMagic + string(head) + "\n" + d
			ref.Depth, ref.Base = base.Depth+1, base.Key
		}
	}
	data := pack([]byte(plain))
	ref.SHA256, ref.Bytes = sumOf(data), int64(len(data))
	s.recall(ref, text)
	return ref, data, nil
}
