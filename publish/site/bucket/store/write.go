package store

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"example.com/publish/publish/site/bucket"
)

// Create implements [bucket.Store]. The error is a *[bucket.ExistsError], also where the
// object that exists is the same.
func (s *Store) Create(ctx context.Context, key string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	sum, err := checksum(body.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.url(key), err)
	}
	if body.Size > ahead {
		switch there, err := s.Head(ctx, key); {
		case err == nil:
			s.forget(ctx, key, body)
			return nil, &bucket.ExistsError{Info: there}
		case !errors.Is(err, bucket.ErrNotFound):
			return nil, err
		}
	}
	if body.Size > s.PartSize {
		return s.upload(ctx, key, body, as)
	}
	return s.settled(ctx, key, body, as, func() (*bucket.Info, error) {
		return s.put(ctx, key, body, as, &s3.PutObjectInput{IfNoneMatch: aws.String("*"), ChecksumSHA256: &sum})
	})
}

// settled makes an object with a request that is conditional: an outcome that is not known
// is settled with a HEAD before anything is sent again. Should the first request arrive
// later after all, then it or the second wins, and they are the same.
func (s *Store) settled(ctx context.Context, key string, body bucket.Body, as bucket.Meta,
	send func() (*bucket.Info, error)) (*bucket.Info, error) {
	for n, lost := 0, false; ; n++ {
		made, err := send()
		exists := errors.Is(err, bucket.ErrExists)
		if err == nil || !exists && (!isBroken(err) || errors.Is(err, errAnew)) {
			return made, err
		}
		switch there, asked := s.Head(ctx, key); {
		case asked == nil && same(there, body, as) && (lost || !exists):
			return there, nil
		case asked == nil:
			return nil, &bucket.ExistsError{Info: there}
		case !errors.Is(asked, bucket.ErrNotFound):
			return nil, both(asked, err)
		}
		lost = lost || !exists
		if exists { // it was deleted meanwhile
			err = &broken{s.url(key), errors.New("was there and is not")}
		}
		if n+1 == attempts || s.pause(ctx, n) != nil {
			return nil, err
		}
	}
}

// same reports whether an object is what was to be made.
func same(there *bucket.Info, body bucket.Body, as bucket.Meta) bool {
	return there.SHA256 == body.SHA256 && there.Size == body.Size && there.Owner == as.Owner
}

// Swap implements [bucket.Store]. It sends one request.
func (s *Store) Swap(ctx context.Context, key, etag string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	sum, err := checksum(body.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.url(key), err)
	}
	if etag == "" { // without a condition it would replace anything
		return nil, fmt.Errorf("%s: %w", s.url(key), errNoTag)
	}
	return s.put(ctx, key, body, as, &s3.PutObjectInput{IfMatch: &etag, ChecksumSHA256: &sum})
}

var errNoTag = errors.New("the store gave no ETag to compare")

// put sends a body with one conditional request.
func (s *Store) put(ctx context.Context, key string, body bucket.Body, as bucket.Meta, in *s3.PutObjectInput) (
	*bucket.Info, error) {
	bytes := newSection(body, 0, body.Size)
	in.Bucket, in.Key, in.Body, in.ContentLength = &s.Bucket, s.key(key), bytes, &body.Size
	in.Metadata, in.ContentType = metadata(body, as), text(as.ContentType)
	in.ContentEncoding, in.CacheControl = text(as.ContentEncoding), text(as.CacheControl)
	out, err := s.client.PutObject(context.WithValue(ctx, digest{}, body.SHA256), in)
	if own := bytes.end(); own != nil && err != nil {
		return nil, fmt.Errorf("%s: %w", s.url(key), own)
	}
	means := answered{failed: bucket.ErrExists}
	if in.IfMatch != nil {
		means = answered{failed: bucket.ErrMoved, missing: bucket.ErrMoved}
	}
	if err := s.told(ctx, key, err, means); err != nil {
		return nil, err
	}
	return s.made(key, body, as, aws.ToString(out.ETag), clock(out.ResultMetadata)), nil
}

// made is the object that a request made.
func (s *Store) made(key string, body bucket.Body, as bucket.Meta, etag string, date time.Time) *bucket.Info {
	return &bucket.Info{Key: key, ETag: etag, Size: body.Size, SHA256: body.SHA256, Owner: as.Owner,
		ContentType: as.ContentType, Modified: date, Date: date}
}

func metadata(body bucket.Body, as bucket.Meta) map[string]string {
	m := map[string]string{metaSum: body.SHA256}
	if as.Owner != "" {
		m[metaOwner] = as.Owner
	}
	return m
}

// text is a header; nil for none.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// checksum is a SHA-256 in hex as headers have it.
func checksum(sum string) (string, error) {
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != 32 {
		return "", fmt.Errorf("%q is no SHA-256", sum)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}
