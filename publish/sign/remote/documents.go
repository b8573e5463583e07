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
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/publish/stage/catalog"
)

// Names of the documents of the format whose documents are signed inside.
const (
	indexPath  = "streams/v1/index"
	plainEnd   = ".json"
	signedEnd  = ".sjson"
	indexPaths = "index" // the object of an index whose values have a path each
)

// documents checks the signed index, and the documents that it names. Each must say the same as the
// one that clients read which check nothing.
func (v *verifier) documents(ctx context.Context) error {
	signed, plain, err := v.pair(ctx, indexPath+signedEnd, indexPath+plainEnd)
	if signed == nil || err != nil {
		return err
	}
	names, bad := renamed(signed)
	if bad != nil {
		v.find(Differs, indexPath+signedEnd, "%v", bad)
		return nil
	}
	if plain != nil && !reflect.DeepEqual(signed, plain) {
		v.find(Differs, indexPath+plainEnd, "does not say what %s does", indexPath+signedEnd)
	}
	for _, name := range names {
		clean, problem, ok := catalog.Clean(name)
		if !ok || clean != name {
			v.find(Unsafe, indexPath+signedEnd, "names a path that %s", cmp.Or(problem, "is not clean"))
			continue
		}
		base, ok := strings.CutSuffix(name, signedEnd)
		if !ok {
			v.find(Differs, indexPath+signedEnd, "names %s, which nobody signed", catalog.Show(name))
			continue
		}
		signed, plain, err := v.pair(ctx, name, base+plainEnd)
		if err != nil {
			return err
		}
		if signed != nil && plain != nil && !reflect.DeepEqual(signed, plain) {
			v.find(Differs, base+plainEnd, "does not say what %s does", name)
		}
	}
	slices.Sort(v.out.Documents)
	return nil
}

// pair reads a signed document and the plain one that says the same. Each is nil after a finding.
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
			v.find(Bad, signedPath, "%v", bad)
		} else {
			v.out.Documents = append(v.out.Documents, signedPath)
		}
	}
	if data, ok, err = v.document(ctx, plainPath); err != nil {
		return nil, nil, err
	}
	if ok && v.listed(plainPath, data) {
		var bad error
		if plain, bad = decode(data); bad != nil {
			v.find(Differs, plainPath, "%v", bad)
		}
	}
	return signed, plain, nil
}

// listed compares a document with the list of the generation, if that has it.
func (v *verifier) listed(path string, data []byte) bool {
	r, ok := v.list.Get(path)
	if !ok || r.Role == catalog.Link {
		return true
	}
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != r.SHA256 {
		v.find(Differs, path, "is not the one of generation %d", v.out.Generation)
		return false
	}
	return true
}

// renamed returns the paths that a signed index names, sorted, and gives its value those of the
// plain documents.
func renamed(index any) (names []string, err error) {
	top, _ := index.(map[string]any)
	list, ok := top[indexPaths].(map[string]any)
	if !ok {
		return nil, errors.New("is no index")
	}
	for _, value := range list {
		one, _ := value.(map[string]any)
		path, ok := one["path"].(string)
		if !ok {
			return nil, errors.New("names something without a path")
		}
		names = append(names, path)
		if base, ok := strings.CutSuffix(path, signedEnd); ok {
			one["path"] = base + plainEnd
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
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
