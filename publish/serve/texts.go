package serve

import (
	"bytes"
	"context"
	"net/http"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Texts are JSON and text that are neither documents nor content, such as all of a tree
// without indexes. Nobody reads them for a view, and there may be very many, so one is
// compressed after somebody has asked for it. It goes out as it is until then.

const (
	// maxText is how many bytes a text may have to be compressed.
	maxText = 8 << 20
	// maxTexts is for how many bytes of compressed texts there is memory, in all.
	maxTexts = 32 << 20
	// maxAsked is how many texts wait to be compressed. Of the others, the next request asks
	// again.
	maxAsked = 64
)

// text returns the compressed form of a text that a request likes best; nil for the text as
// it is. If there is none yet, it is made beside the serving.
func (s *Server) text(r *http.Request, row tree.Row) *packed {
	if list, ok := s.texts.get(row.SHA256); ok {
		return choose(list, r)
	}
	for _, name := range s.config.Compress {
		if accepts(r.Header["Accept-Encoding"], name) {
			select {
			case s.toPack <- row:
			default:
			}
			break
		}
	}
	return nil
}

// packTexts compresses texts that were asked for, until ctx ends.
func (s *Server) packTexts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case row := <-s.toPack:
			s.packText(ctx, row)
		}
	}
}

// packText compresses a text of production. One that cannot be read, or has other bytes than
// the manifest says, is not tried again.
func (s *Server) packText(ctx context.Context, row tree.Row) {
	if _, ok := s.texts.get(row.SHA256); ok {
		return
	}
	v := s.keeper.hold()
	defer v.drop()
	if v == nil {
		return
	}
	if now, ok := v.find(row.Path); !ok || now != row {
		return // there was a switch, or it is of a kept generation
	}
	list, err := s.packedText(ctx, v, row)
	if gone(err) || exhausted(err) {
		return
	}
	if err != nil {
		s.log.Error("a text cannot be compressed", "path", row.Path, "error", err)
	}
	bytes := 0
	for _, p := range list {
		bytes += len(p.data)
	}
	s.texts.put(row.SHA256, list, bytes)
}

func (s *Server) packedText(ctx context.Context, v *view, row tree.Row) ([]packed, error) {
	data, err := readSmall(ctx, v, row, catalog.Digest{Algorithm: catalog.SHA256, Hex: row.SHA256})
	if err != nil {
		return nil, err
	}
	var list []packed
	for _, name := range s.config.Compress {
		if list, err = appendPacked(list, name, row, bytes.NewReader(data)); err != nil {
			return nil, err
		}
	}
	return list, nil
}
