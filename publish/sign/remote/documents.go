package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Names of the documents of the format whose documents are signed inside.
const (
	indexPath   = "streams/v1/index.json"
	signedIndex = "streams/v1/index.sjson"
	signedEnd   = ".sjson"
	besideEnd   = ".gpg"
)

// documents checks the signed index, and the documents that it names. Each must say the same as the
// one that clients read which check nothing.
func (v *verifier) documents(ctx context.Context) error {
	signed, plain, err := v.pair(ctx, signedIndex, indexPath)
	if signed == nil || err != nil {
		return err
	}
	names, bad := paths(signed)
	if bad != nil {
		v.find(Differs, signedIndex, "%v", bad)
		return nil
	}
	plainNames := map[string]string{}
	if plain != nil {
		if plainNames, bad = paths(plain); bad == nil {
			delete(plain.(map[string]any), pointerMember)
		}
		if bad != nil || !reflect.DeepEqual(signed, plain) {
			v.find(Differs, indexPath, "does not say what %s does", signedIndex)
		}
	}
	done := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		signedPath, plainPath := names[key], plainNames[key]
		if done[signedPath] || !v.safe(signedIndex, signedPath) {
			continue
		}
		done[signedPath] = true
		if !strings.HasSuffix(signedPath, signedEnd) {
			v.find(Differs, signedIndex, "names %s, which nobody signed", catalog.Show(signedPath))
			continue
		}
		if plainPath != "" && !v.safe(indexPath, plainPath) {
			plainPath = ""
		}
		signed, plain, err := v.pair(ctx, signedPath, plainPath)
		if err != nil {
			return err
		}
		if signed != nil && plain != nil && !reflect.DeepEqual(signed, plain) {
			v.find(Differs, plainPath, "does not say what %s does", signedPath)
		}
	}
	slices.Sort(v.out.Documents)
	return nil
}

// safe reports whether a path of a document may be asked for.
func (v *verifier) safe(document, path string) bool {
	clean, problem, ok := catalog.Clean(path)
	if !ok || clean != path {
		v.find(Unsafe, document, "names a path that %s", cmp.Or(problem, "is not clean"))
		return false
	}
	return true
}

// paths takes the paths out of an index, where the signed one and the plain one differ, and returns
// them by the names of what lies there.
func paths(index any) (map[string]string, error) {
	top, _ := index.(map[string]any)
	list, ok := top["index"].(map[string]any)
	if !ok {
		return nil, errors.New("is no index")
	}
	out := map[string]string{}
	for name, value := range list {
		one, _ := value.(map[string]any)
		path, ok := one["path"].(string)
		if !ok {
			return nil, errors.New("names something without a path")
		}
		delete(one, "path")
		out[name] = path
	}
	return out, nil
}

// pair reads a signed document and the plain one that says the same, if there is one. Each is nil
// after a finding. A signature beside the plain one is checked.
func (v *verifier) pair(ctx context.Context, signedPath, plainPath string) (signed, plain any, err error) {
	data, ok, err := v.document(ctx, signedPath)
	if err != nil {
		return nil, nil, err
	}
	if ok && v.listed(signedPath, data) {
		text, _, bad := v.Keys.Inline(data, v.Now())
		if bad == nil {
			signed, bad = decode(text)
		}
		if bad != nil {
			v.settled = v.settled || errors.Is(bad, sign.ErrUnknownKey)
			v.find(Bad, signedPath, "%v", bad)
		} else {
			v.out.Documents = append(v.out.Documents, signedPath)
		}
	}
	if plainPath == "" {
		return signed, nil, nil
	}
	if data, ok, err = v.document(ctx, plainPath); err != nil {
		return nil, nil, err
	}
	if ok {
		if err := v.beside(ctx, plainPath, data); err != nil {
			return nil, nil, err
		}
	}
	if ok && v.listed(plainPath, data) {
		var bad error
		if plain, bad = decode(data); bad != nil {
			v.find(Differs, plainPath, "%v", bad)
		}
	}
	return signed, plain, nil
}

// beside checks the signature beside a plain document, if there is one. Only a document that is
// never replaced can have one: it has the hash of its bytes in its name. Whether one was made is not
// known, and a store may answer 403 for what it does not have.
func (v *verifier) beside(ctx context.Context, path string, data []byte) error {
	if sumOf(path) == "" || slices.Contains(v.out.Documents, path) { // two names may lead to one
		return nil
	}
	at := path + besideEnd
	signature, found, err := v.get(ctx, at, sign.MaxBeside, http.StatusForbidden)
	switch {
	case errors.Is(err, durable.ErrTooLong):
		v.find(Large, at, "is larger than a signature can be")
		return nil
	case err != nil || !found:
		return err
	}
	// It is read again also where the key is unknown: right after a switch it may be by the former key.
	if _, bad := v.Keys.Beside(data, signature, v.Now()); bad != nil {
		v.find(Bad, at, "%v", bad)
		return nil
	}
	v.out.Documents = append(v.out.Documents, path)
	return nil
}

// listed compares a document with the list of the generation, if there is one.
func (v *verifier) listed(path string, data []byte) bool {
	r, ok := v.list.Get(path)
	if !ok || r.Role == catalog.Link {
		return true
	}
	if path == indexPath && pointer(data) != nil {
		return true
	}
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != r.SHA256 {
		v.find(Differs, path, "is not the one of generation %d", v.out.Generation)
		return false
	}
	return true
}

// decode reads a document of JSON. Readers do not agree on a name that an object has twice, or
// on bytes that are no text: so both are refused.
func decode(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d, 0)
	if err == nil && len(bytes.TrimSpace(data[d.InputOffset():])) > 0 {
		err = errors.New("there is something behind it")
	}
	if err != nil {
		return nil, fmt.Errorf("is no JSON: %w", err)
	}
	return v, nil
}

// maxDepth bounds values inside values. A catalog has seven.
const maxDepth = 100

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, errors.New("too many values inside values")
	}
	var list []any
	object := map[string]any{}
	for d.More() {
		name := ""
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ = t.(string)
			if _, twice := object[name]; twice {
				return nil, fmt.Errorf("%s is there twice", catalog.Show(name))
			}
		}
		v, err := value(d, depth+1)
		if err != nil {
			return nil, err
		}
		if open == '{' {
			object[name] = v
		} else {
			list = append(list, v)
		}
	}
	if _, err := d.Token(); err != nil { // the end
		return nil, err
	}
	if open == '{' {
		return object, nil
	}
	return list, nil
}
