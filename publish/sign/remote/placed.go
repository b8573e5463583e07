package remote

import (
	"context"
	"path"
	"strings"

	"example.com/publish/stage/catalog"
)

// Where clients read an object store directly, the index is the pointer of the store: it has a
// member of its own, and names catalogs by their hashes. The list is of the tree as it was
// promoted, so there the index is not compared with it, but may name nothing else than it has.

// pointerMember is what the index of an object store has beside what clients read.
const pointerMember = "publish"

// pointer returns the paths that the index of an object store names; nil for any other text.
func pointer(index []byte) map[string]string {
	v, err := decode(index)
	if err != nil {
		return nil
	}
	if top, _ := v.(map[string]any); top[pointerMember] == nil {
		return nil
	}
	names, err := paths(v)
	if err != nil {
		return nil
	}
	return names
}

// placed finds where the catalogs of the list lie, by their hashes, if the server is an object
// store; nil if it is none.
func (v *verifier) placed(ctx context.Context) (map[string]string, error) {
	if _, ok := v.list.Get(indexPath); !ok {
		return nil, nil
	}
	data, ok, err := v.document(ctx, indexPath)
	if !ok || err != nil {
		return nil, err
	}
	names := pointer(data)
	if names == nil {
		return nil, nil
	}
	of := map[string]bool{}
	for _, r := range v.list.All() {
		of[r.SHA256] = true
	}
	out := map[string]string{}
	for _, at := range names {
		if !v.safe(indexPath, at) {
			continue
		}
		sum := sumOf(at)
		if !of[sum] {
			v.find(Differs, indexPath, "names %s, which is not of generation %d", catalog.Show(at), v.out.Generation)
			continue
		}
		out[sum] = at
	}
	return out, nil
}

// sumOf is the hash that a document has in its name, which no other bytes may have; "" for none.
func sumOf(document string) string {
	stem := strings.TrimSuffix(path.Base(document), ".json")
	sum := stem[strings.LastIndexByte(stem, '-')+1:]
	if (catalog.Digest{Algorithm: catalog.SHA256, Hex: sum}).Check() != nil {
		return ""
	}
	return sum
}
