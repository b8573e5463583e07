package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/storetest"
)

var owned = bucket.Meta{Owner: "repo-1", ContentType: "application/json", CacheControl: "no-cache"}

// body is one that is in memory.
func body(data []byte) bucket.Body {
	sum := sha256.Sum256(data)
	return bucket.Body{Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]),
		Open: func(from int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data[from:])), nil }}
}

// pattern is n bytes that differ from part to part.
func pattern(n int) []byte {
	data := make([]byte, n)
	x := uint32(n)
	for i := range data {
		x = x*1664525 + 1013904223
		data[i] = byte(x >> 24)
	}
	return data
}

// open opens the bucket of a server at an address, and waits for nothing.
func open(t testing.TB, s *storetest.Server, endpoint string, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{Bucket: s.Bucket, Prefix: "a/b", Endpoint: endpoint, Region: s.Region, PartSize: minPart, Concurrency: 3,
		Journal: t.TempDir(), Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	for _, f := range change {
		f(&c)
	}
	st, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.CloseIdle)
	return st
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// content returns the bytes of an object, and what it is.
func content(t testing.TB, s *Store, key string) (string, bucket.Info) {
	t.Helper()
	o, err := s.Get(t.Context(), key, bucket.Get{})
	must(t, err)
	defer o.Body.Close()
	data, err := io.ReadAll(o.Body)
	must(t, err)
	return string(data), o.Info
}

func TestObjects(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s, ctx := open(t, server, server.Endpoint), t.Context()
		_, err := s.Get(ctx, "pointer", bucket.Get{})
		is(t, err, bucket.ErrNotFound)
		_, err = s.Head(ctx, "pointer")
		is(t, err, bucket.ErrNotFound)
		_, err = s.Swap(ctx, "pointer", `"0123456789abcdef0123456789abcdef"`, body([]byte("x")), owned)
		is(t, err, bucket.ErrMoved)

		one := body([]byte("one\n"))
		made, err := s.Create(ctx, "pointer", one, owned)
		must(t, err)
		head, err := s.Head(ctx, "pointer")
		must(t, err)
		if head.ETag != made.ETag || head.Size != 4 || head.SHA256 != one.SHA256 || head.Owner != "repo-1" ||
			head.ContentType != "application/json" || head.Key != "pointer" || head.Date.IsZero() || head.Modified.IsZero() {
			t.Errorf("head: %+v, made %+v", head, made)
		}
		if text, info := content(t, s, "pointer"); text != "one\n" || info.Size != 4 || info.SHA256 != one.SHA256 ||
			info.Owner != "repo-1" || info.Date.IsZero() {
			t.Errorf("got %q, %+v", text, info)
		}
		_, err = s.Get(ctx, "pointer", bucket.Get{Unless: made.ETag})
		is(t, err, bucket.ErrUnchanged)
		_, err = s.Create(ctx, "pointer", body([]byte("two\n")), owned)
		is(t, err, bucket.ErrExists)
		var exists *bucket.ExistsError
		if !errors.As(err, &exists) || exists.Info.SHA256 != one.SHA256 || exists.Info.ETag != made.ETag {
			t.Errorf("create twice: %v", err)
		}

		swapped, err := s.Swap(ctx, "pointer", made.ETag, body([]byte("three\n")), owned)
		must(t, err)
		_, err = s.Swap(ctx, "pointer", made.ETag, body([]byte("four\n")), owned)
		is(t, err, bucket.ErrMoved)
		if text, info := content(t, s, "pointer"); text != "three\n" || info.ETag != swapped.ETag {
			t.Errorf("got %q, %+v", text, info)
		}
		_, err = s.Create(ctx, "empty", body(nil), owned)
		must(t, err)
		if text, info := content(t, s, "empty"); text != "" || info.Size != 0 {
			t.Errorf("got %q, %+v", text, info)
		}
		wrong := body([]byte("wrong\n"))
		wrong.SHA256 = one.SHA256
		var refused *bucket.Refusal
		if _, err = s.Create(ctx, "wrong", wrong, owned); !errors.As(err, &refused) {
			t.Errorf("a wrong digest: %v", err)
		}
		_, err = s.Head(ctx, "wrong")
		is(t, err, bucket.ErrNotFound)
	})
}

func TestRange(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s := open(t, server, server.Endpoint)
		_, err := s.Create(t.Context(), "x", body([]byte("0123456789")), owned)
		must(t, err)
		for _, test := range []struct {
			get  bucket.Get
			want string
		}{{bucket.Get{From: 3}, "3456789"}, {bucket.Get{Length: 4}, "0123"}, {bucket.Get{From: 2, Length: 3}, "234"},
			{bucket.Get{From: 8, Length: 100}, "89"}} {
			o, err := s.Get(t.Context(), "x", test.get)
			must(t, err)
			data, err := io.ReadAll(o.Body)
			must(t, err)
			must(t, o.Body.Close())
			if string(data) != test.want || o.Size != 10 {
				t.Errorf("%+v: %q of %d bytes", test.get, data, o.Size)
			}
		}
		_, err = s.Get(t.Context(), "x", bucket.Get{From: 11})
		var refused *bucket.Refusal
		if !errors.As(err, &refused) || refused.Status != 416 {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestListAndDelete(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s, ctx := open(t, server, server.Endpoint), t.Context()
		keys := []string{"l/a b+c%d", "l/é", "l/x&y<z>", "m/1"}
		for i := range 5 {
			keys = append(keys, fmt.Sprintf("l/%03d", i))
		}
		other := open(t, server, server.Endpoint, func(c *Config) { c.Prefix = "a" })
		for _, key := range keys {
			_, err := s.Create(ctx, key, body([]byte(key)), owned)
			must(t, err)
		}
		_, err := other.Create(ctx, "l/foreign", body(nil), bucket.Meta{})
		must(t, err)
		list := func(prefix, after string) (found []string) {
			for info, err := range s.List(ctx, prefix, after) {
				must(t, err)
				if info.Size != int64(len(info.Key)) || info.ETag == "" || info.Modified.IsZero() {
					t.Errorf("%+v", info)
				}
				found = append(found, info.Key)
			}
			return found
		}
		want := slices.Sorted(slices.Values(keys))
		if got := list("", ""); !slices.Equal(got, want) {
			t.Errorf("list: %q, want %q", got, want)
		}
		if got := list("l/00", "l/002"); !slices.Equal(got, []string{"l/003", "l/004"}) {
			t.Errorf("list after: %q", got)
		}
		stay, err := s.Delete(ctx, append(keys[:5:5], "l/none"), false)
		if err != nil || len(stay) > 0 {
			t.Fatalf("%v, %v", stay, err)
		}
		stay, err = s.Delete(ctx, keys[5:6], true)
		if err != nil || len(stay) > 0 {
			t.Fatalf("%v, %v", stay, err)
		}
		if got := list("", ""); !slices.Equal(got, slices.Sorted(slices.Values(keys[6:]))) {
			t.Errorf("after the delete: %q", got)
		}
		if _, err := other.Head(ctx, "l/foreign"); err != nil {
			t.Error(err)
		}
	})
}

func TestParts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, server *storetest.Server) {
		s, ctx := open(t, server, server.Endpoint), t.Context()
		data := pattern(2*minPart + 77)
		whole := body(data)
		made, err := s.Create(ctx, "big", whole, owned)
		must(t, err)
		text, info := content(t, s, "big")
		if text != string(data) || info.SHA256 != whole.SHA256 || info.Owner != "repo-1" ||
			info.ETag != made.ETag && server.Kind != "fake" { // which says another one later
			t.Errorf("%d bytes, %+v", len(text), info)
		}
		if list, err := s.Abandoned(); err != nil || len(list) > 0 {
			t.Errorf("%v, %v", list, err)
		}
		_, err = s.Create(ctx, "big", whole, owned)
		is(t, err, bucket.ErrExists)
		wrong := body(slices.Concat(data, data))
		wrong.SHA256 = whole.SHA256
		if _, err = s.Create(ctx, "wrong", wrong, owned); !errors.Is(err, errOther) {
			t.Errorf("a wrong digest: %v", err)
		}
		_, err = s.Head(ctx, "wrong")
		is(t, err, bucket.ErrNotFound)
		if list, err := s.Abandoned(); err != nil || len(list) > 0 {
			t.Errorf("%v, %v", list, err)
		}
	})
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{"s3://images/a/b": "images a/b", "s3://images": "images ",
		"s3://images/": "images ", "s3://images//a//b//": "images a/b", "s3://my.images/é": "my.images é"} {
		at, err := ParseURL(text)
		if got := at.Bucket + " " + at.Prefix; err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{"s3://": "no bucket", "s3:///a": "no bucket", "/srv": "not the address",
		"s3://images/../x": `".."`, "s3://images/a?versionId=1": "'?'", "s3://images#a": "'#'",
		"s3://key:secret@images/a": "user or password", "s3://host:9000/images": "port", "s3://10.0.0.1/x": "address",
		"s3://im ages/x": "' '", "s3://ab/x": "fewer", "s3://images/a%2fb": "%", "s3://images/a\nb": "character",
		"s3://images/./a": `"."`, "s3://.images/a": "begins", "s3://images/" + strings.Repeat("x", 600): "512"} {
		_, err := ParseURL(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
