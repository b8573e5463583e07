package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"example.com/publish/publish/site/bucket"
)

// atOnce is how many objects one request deletes.
const atOnce = 1000

// object is one to delete; version is "" for the newest.
type object struct{ key, version string }

// Delete implements [bucket.Store], a thousand objects a request where the store can. No
// request that deletes is repeated here: if the answer to the first one were lost, the
// success of the second would hide that the first may be lingering in the network.
func (s *Store) Delete(ctx context.Context, keys []string, all bool) (stay []bucket.Stay, err error) {
	var list []object
	for _, key := range keys {
		list = append(list, object{key: key})
	}
	if !all {
		return s.deleteList(ctx, list)
	}
	for _, key := range keys {
		left, err := s.deleteVersions(ctx, key)
		if err != nil {
			return stay, err
		}
		stay = append(stay, left...)
	}
	return stay, nil
}

func (s *Store) deleteList(ctx context.Context, list []object) (stay []bucket.Stay, err error) {
	for len(list) > 0 {
		n := min(len(list), atOnce)
		left, err := s.deleteSome(ctx, list[:n])
		if err != nil {
			return stay, err
		}
		stay, list = append(stay, left...), list[n:]
	}
	return stay, nil
}

// deleteVersions deletes each version of an object, and its delete markers. It looks again
// afterwards: a writer who comes between adds one.
func (s *Store) deleteVersions(ctx context.Context, key string) ([]bucket.Stay, error) {
	const rounds = 3
	for range rounds {
		list, err := s.versions(ctx, key)
		var refused *bucket.Refusal
		if errors.As(err, &refused) && noVersions(refused) {
			return s.deleteList(ctx, []object{{key: key}})
		}
		if err != nil || len(list) == 0 {
			return nil, err
		}
		stay, err := s.deleteList(ctx, list)
		if err != nil || len(stay) > 0 {
			return first(stay), err
		}
	}
	return []bucket.Stay{{Key: key, Err: fmt.Errorf("%s: has new versions again and again", s.url(key))}}, nil
}

// noVersions reports whether a refusal says that the store knows no versions.
func noVersions(r *bucket.Refusal) bool {
	return r.Status == http.StatusNotImplemented || r.Status == http.StatusMethodNotAllowed
}

// first keeps one of several versions of a key that stay.
func first(stay []bucket.Stay) []bucket.Stay { return stay[:min(len(stay), 1)] }

// versions lists those of exactly this key.
func (s *Store) versions(ctx context.Context, key string) (list []object, err error) {
	in := &s3.ListObjectVersionsInput{Bucket: &s.Bucket, Prefix: s.key(key), EncodingType: types.EncodingTypeUrl}
	for {
		var page *s3.ListObjectVersionsOutput
		err := s.again(ctx, func() error {
			page, err = s.client.ListObjectVersions(ctx, in)
			return s.told(ctx, key, err, answered{})
		})
		if err != nil {
			return nil, err
		}
		add := func(found, version *string) {
			if name, err := unescaped(aws.ToString(found), page.EncodingType); err == nil && name == *s.key(key) {
				list = append(list, object{key, aws.ToString(version)})
			}
		}
		for _, v := range page.Versions {
			add(v.Key, v.VersionId)
		}
		for _, m := range page.DeleteMarkers {
			add(m.Key, m.VersionId)
		}
		next, err := unescaped(aws.ToString(page.NextKeyMarker), page.EncodingType)
		// The key itself sorts before all that begin with it.
		if !aws.ToBool(page.IsTruncated) || err != nil || next != *s.key(key) {
			return list, nil
		}
		in.KeyMarker, in.VersionIdMarker = &next, page.NextVersionIdMarker
	}
}

// deleteSome deletes up to atOnce objects.
func (s *Store) deleteSome(ctx context.Context, list []object) (stay []bucket.Stay, err error) {
	if len(list) == 1 || s.single.Load() {
		return s.deleteEach(ctx, list)
	}
	stay, err = s.deleteBatch(ctx, list)
	var refused *bucket.Refusal
	if errors.As(err, &refused) && noBatch(refused) {
		s.single.Store(true)
		return s.deleteEach(ctx, list)
	}
	return stay, err
}

// noBatch reports whether a refusal says that the store does not delete many at once, or
// wants a checksum of the list that the SDK does not send.
func noBatch(r *bucket.Refusal) bool {
	switch r.Code {
	case "NotImplemented", "MethodNotAllowed", "MissingContentMD5", "InvalidRequest", "MalformedXML":
		return true
	}
	return r.Status == http.StatusNotImplemented || r.Status == http.StatusMethodNotAllowed
}

// deleteBatch sends one request.
func (s *Store) deleteBatch(ctx context.Context, list []object) (stay []bucket.Stay, err error) {
	in := &types.Delete{Quiet: aws.Bool(true)}
	known := map[string]object{}
	for _, o := range list {
		id := types.ObjectIdentifier{Key: s.key(o.key)}
		if o.version != "" {
			id.VersionId = aws.String(o.version)
		}
		known[*id.Key+"\x00"+o.version] = o
		in.Objects = append(in.Objects, id)
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &s.Bucket, Delete: in})
	if err := s.told(ctx, "", err, answered{}); err != nil {
		return nil, err
	}
	for _, e := range out.Errors {
		code := aws.ToString(e.Code)
		o, ok := known[aws.ToString(e.Key)+"\x00"+aws.ToString(e.VersionId)]
		switch {
		case !ok:
			return nil, &broken{s.url(""), fmt.Errorf("the store does not delete %q, which was not asked for",
				aws.ToString(e.Key))}
		case code == "NoSuchKey" || code == "NoSuchVersion":
		case code == "InternalError" || code == "ServiceUnavailable" || passing[code]:
			stay = append(stay, bucket.Stay{Key: o.key, Err: &broken{s.url(o.key), errors.New("the store is in trouble: " +
				code)}})
		default:
			status := http.StatusBadRequest
			if code == "AccessDenied" {
				status = http.StatusForbidden
			}
			stay = append(stay, bucket.Stay{Key: o.key, Err: &bucket.Refusal{Code: code, Status: status,
				Hint: s.hint(status, code, ""), Err: fmt.Errorf("%s: the store does not delete it: %s: %s", s.url(o.key), code,
					aws.ToString(e.Message))}})
		}
	}
	return stay, nil
}

// deleteEach deletes objects with a request each.
func (s *Store) deleteEach(ctx context.Context, list []object) (stay []bucket.Stay, err error) {
	for _, o := range list {
		in := &s3.DeleteObjectInput{Bucket: &s.Bucket, Key: s.key(o.key), VersionId: text(o.version)}
		_, err := s.client.DeleteObject(ctx, in)
		err = s.told(ctx, o.key, err, answered{missing: bucket.ErrNotFound})
		var refused *bucket.Refusal
		switch {
		case err == nil, errors.Is(err, bucket.ErrNotFound), errors.As(err, &refused) && refused.Code == "NoSuchVersion":
		case errors.As(err, &refused) && refused.Code != "NoSuchBucket" && refused.Code != "NoCredentials":
			stay = append(stay, bucket.Stay{Key: o.key, Err: err})
		default:
			return stay, err
		}
	}
	return stay, nil
}
