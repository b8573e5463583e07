package oci

import (
	"cmp"
	"encoding/json"
	"slices"
)

// notes are annotations. Most descriptors have none, and most entries of index.json one
// or two: a map for each would need most of the memory of a large index.
type notes []note

// fewNotes is how many annotations are read by comparing each with all before it.
const fewNotes = 64

type note struct{ Key, Value string }

// get returns an annotation.
func (n notes) get(key string) (value string, ok bool) {
	for i := range n {
		if n[i].Key == key {
			return n[i].Value, true
		}
	}
	return "", false
}

// of is get, for who takes an empty one for none.
func (n notes) of(key string) string {
	value, _ := n.get(key)
	return value
}

// set adds an annotation, or changes it.
func (n *notes) set(key, value string) {
	for i := range *n {
		if (*n)[i].Key == key {
			(*n)[i].Value = value
			return
		}
	}
	*n = append(*n, note{key, value})
}

// notesOf are those of a map, sorted by key; nil for none.
func notesOf(m map[string]string) notes {
	if len(m) == 0 {
		return nil
	}
	out := make(notes, 0, len(m))
	for key, value := range m {
		out = append(out, note{key, value})
	}
	slices.SortFunc(out, func(a, b note) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// table is the reverse of notesOf, with a copy that is never nil.
func (n notes) table() map[string]string {
	out := make(map[string]string, len(n))
	for _, is := range n {
		out[is.Key] = is.Value
	}
	return out
}

// UnmarshalJSON reads an object of strings, as for a map.
func (n *notes) UnmarshalJSON(data []byte) error {
	var m map[string]string
	err := json.Unmarshal(data, &m)
	*n = notesOf(m)
	return err
}
