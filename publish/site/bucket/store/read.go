package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"example.com/publish/publish/site/bucket"
)

// The names of what an object says of itself: x-amz-meta-sha256, x-amz-meta-publish.
const (
	metaSum   = "sha256"
	metaOwner = "publish"
)

// Get implements [bucket.Store]. A body that is cut is asked for from there on.
func (s *Store) Get(ctx context.Context, key string, opt bucket.Get) (*bucket.Object, error) {
	in := &s3.GetObjectInput{Bucket: &s.Bucket, Key: s.key(key), Range: span(opt.From, opt.Length)}
	if opt.Unless != "" {
		in.IfNoneMatch = &opt.Unless
	}
	out, err := s.get(ctx, key, in)
	if err != nil {
		return nil, err
	}
	size, n := aws.ToInt64(out.ContentLength), aws.ToInt64(out.ContentLength)
	if out.ContentRange != nil {
		if size, err = whole(*out.ContentRange, opt.From); err != nil {
			_ = out.Body.Close()
			return nil, &broken{s.url(key), err}
		}
	} else if in.Range != nil {
		_ = out.Body.Close()
		return nil, &bucket.Refusal{Code: "NoRange", Err: fmt.Errorf("%s: the store sends no part of an object", s.url(key))}
	}
	info := bucket.Info{Key: key, ETag: aws.ToString(out.ETag), Size: size, SHA256: out.Metadata[metaSum],
		Owner: out.Metadata[metaOwner], ContentType: aws.ToString(out.ContentType),
		Modified: aws.ToTime(out.LastModified), Date: clock(out.ResultMetadata)}
	return &bucket.Object{Info: info, Body: &reader{store: s, ctx: ctx, key: key, etag: info.ETag, at: opt.From,
		end: opt.From + n, body: out.Body}}, nil
}

func (s *Store) get(ctx context.Context, key string, in *s3.GetObjectInput) (out *s3.GetObjectOutput, err error) {
	err = s.again(ctx, func() error {
		out, err = s.client.GetObject(ctx, in)
		return s.told(ctx, key, err, answered{missing: bucket.ErrNotFound, failed: bucket.ErrMoved})
	})
	return out, err
}

// span is the header Range; nil for all.
func span(from, n int64) *string {
	switch {
	case n > 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", from, from+n-1))
	case from > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", from))
	}
	return nil
}

// whole returns the size of an object from the header Content-Range.
func whole(header string, from int64) (int64, error) {
	rest, ok := strings.CutPrefix(header, fmt.Sprintf("bytes %d-", from))
	_, total, slash := strings.Cut(rest, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if !ok || !slash || err != nil || size < 0 {
		return 0, fmt.Errorf("the store sends another part than the one that was asked for: %q", header)
	}
	return size, nil
}

// reader reads the bytes of an object from at to end, with as many requests as it takes:
// each must bring some.
type reader struct {
	store   *Store
	ctx     context.Context
	key     string
	etag    string
	at, end int64
	body    io.ReadCloser
	fails   int
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.at >= r.end {
			return 0, io.EOF
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.at)])
		r.at += int64(n)
		if n > 0 {
			r.fails = 0
			return n, nil // an error comes again
		}
		if err == nil {
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err := r.reopen(err); err != nil {
			return 0, err
		}
	}
}

// reopen asks for the rest, unless the object is another one now.
func (r *reader) reopen(cause error) error {
	_ = r.body.Close()
	r.body = io.NopCloser(strings.NewReader(""))
	fail := r.store.told(r.ctx, r.key, cause, answered{})
	if r.fails++; r.fails >= attempts || !isBroken(fail) || r.store.pause(r.ctx, r.fails-1) != nil {
		return fail
	}
	out, err := r.store.get(r.ctx, r.key, &s3.GetObjectInput{Bucket: &r.store.Bucket, Key: r.store.key(r.key),
		Range: span(r.at, r.end-r.at), IfMatch: &r.etag})
	if err != nil {
		return err
	}
	if _, err := whole(aws.ToString(out.ContentRange), r.at); err != nil || aws.ToString(out.ETag) != r.etag {
		_ = out.Body.Close()
		return fmt.Errorf("%s: %w", r.store.url(r.key), errors.Join(bucket.ErrMoved, err))
	}
	r.body = out.Body
	return nil
}

func (r *reader) Close() error { return r.body.Close() }

// Head implements [bucket.Store].
func (s *Store) Head(ctx context.Context, key string) (info *bucket.Info, err error) {
	err = s.again(ctx, func() error {
		out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.Bucket, Key: s.key(key)})
		if err != nil {
			return s.told(ctx, key, err, answered{missing: bucket.ErrNotFound})
		}
		info = &bucket.Info{Key: key, ETag: aws.ToString(out.ETag), Size: aws.ToInt64(out.ContentLength),
			SHA256: out.Metadata[metaSum], Owner: out.Metadata[metaOwner], ContentType: aws.ToString(out.ContentType),
			Modified: aws.ToTime(out.LastModified), Date: clock(out.ResultMetadata)}
		return nil
	})
	return info, err
}

// List implements [bucket.Store], a thousand objects a request.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[*bucket.Info, error] {
	return func(yield func(*bucket.Info, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: s.key(prefix), EncodingType: types.EncodingTypeUrl}
		if after != "" {
			in.StartAfter = s.key(after)
		}
		for before := after; ; {
			page, err := s.page(ctx, prefix, in)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, o := range page.Contents {
				info, err := s.listed(page, &o)
				if err == nil && info.Key <= before && before != "" {
					err = fmt.Errorf("%s: the store does not list objects in order: %q after %q", s.url(prefix), info.Key,
						before)
				}
				if err != nil {
					yield(nil, err)
					return
				}
				before = info.Key
				if !yield(info, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			if aws.ToString(page.NextContinuationToken) == "" ||
				aws.ToString(page.NextContinuationToken) == aws.ToString(in.ContinuationToken) {
				yield(nil, fmt.Errorf("%s: the store lists objects without an end", s.url(prefix)))
				return
			}
			in.ContinuationToken = page.NextContinuationToken
		}
	}
}

func (s *Store) page(ctx context.Context, prefix string, in *s3.ListObjectsV2Input) (out *s3.ListObjectsV2Output,
	err error) {
	err = s.again(ctx, func() error {
		out, err = s.client.ListObjectsV2(ctx, in)
		return s.told(ctx, prefix, err, answered{})
	})
	return out, err
}

// listed is an object of a list. Its key may have bytes that XML cannot: so it is escaped.
func (s *Store) listed(page *s3.ListObjectsV2Output, o *types.Object) (*bucket.Info, error) {
	key, err := unescaped(aws.ToString(o.Key), page.EncodingType)
	if err == nil && s.Prefix != "" {
		var ok bool
		if key, ok = strings.CutPrefix(key, s.Prefix+"/"); !ok {
			err = errors.New("is not below the prefix that was asked for")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("s3://%s/%q: the store lists a key that %w", s.Bucket, aws.ToString(o.Key), err)
	}
	return &bucket.Info{Key: key, ETag: aws.ToString(o.ETag), Size: aws.ToInt64(o.Size),
		Modified: aws.ToTime(o.LastModified), Date: clock(page.ResultMetadata)}, nil
}

func unescaped(key string, encoding types.EncodingType) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return key, nil
	}
	return url.QueryUnescape(key)
}
