package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"example.com/publish/publish/site/bucket"
)

// upload makes an object of parts:
//
//	begin      an upload that says what the object is; the journal has its id
//	list       what the store has of the upload that an earlier run began
//	parts      each with its digest; one goroutine reads ahead and hashes, others read and send
//	complete   on the condition that the key is free: the object appears
//	journal    goes
//
// A kill before complete leaves parts, which the next run finds. A kill after it leaves the
// journal, which goes when the object is seen.
func (s *Store) upload(ctx context.Context, key string, body bucket.Body, as bucket.Meta) (*bucket.Info, error) {
	const rounds = 3
	for n := 1; ; n++ {
		j, err := s.begin(ctx, key, body, as)
		if err != nil {
			return nil, err
		}
		made, err := s.run(ctx, key, body, as, j)
		var exists *bucket.ExistsError
		switch {
		case err == nil:
			_ = j.remove() // what stays is found when the object is
			return made, nil
		case errors.As(err, &exists):
			if s.abort(ctx, key, j.Upload) == nil {
				_ = j.remove()
			}
			return nil, err
		case errors.Is(err, errAnew):
			// The store forgot the upload, or refuses it for good; or it has become the object,
			// by an attempt whose answer was lost, or by another process.
			there, asked := s.Head(ctx, key)
			if asked != nil && !errors.Is(asked, bucket.ErrNotFound) {
				return nil, both(asked, err)
			}
			if s.abort(ctx, key, j.Upload) == nil {
				_ = j.remove()
			}
			switch {
			case asked == nil && same(there, body, as):
				return there, nil
			case asked == nil:
				return nil, &bucket.ExistsError{Info: there}
			case n < rounds && s.pause(ctx, n-1) == nil:
				continue
			}
		case j.path == "" || errors.Is(err, errOther):
			// Nothing will go on from these parts. What had the request end must not end this.
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
			if s.abort(end, key, j.Upload) == nil {
				_ = j.remove()
			}
			cancel()
		}
		return nil, err
	}
}

var (
	// errAnew says that an upload is lost, but not its body.
	errAnew = errors.New("the store lost an upload in parts")
	// errOther says that a body has other bytes than it should.
	errOther = errors.New("has other bytes than its digest says")
)

// begin returns the journal of an upload: that of an earlier run, if the store still has it.
func (s *Store) begin(ctx context.Context, key string, body bucket.Body, as bucket.Meta) (*journal, error) {
	path := s.journalPath(key, body)
	if path != "" {
		j, err := readJournal(path)
		if err != nil {
			return nil, s.journalFailed(key, err)
		}
		if j != nil && j.fits(s, key, body) {
			there, err := s.there(ctx, key, j)
			if err == nil {
				j.sent = there
				if err := j.write(); err != nil {
					return nil, s.journalFailed(key, err)
				}
				return j, nil
			}
			if !isGone(err) && !errors.Is(err, bucket.ErrNotFound) {
				return nil, err
			}
		}
	}
	part := max(s.PartSize, minPart)
	if n := (body.Size + maxParts - 1) / maxParts; n > part {
		part = (n + mib - 1) / mib * mib
	}
	if part > maxPut {
		return nil, &bucket.Refusal{Code: "EntityTooLarge", Err: fmt.Errorf("%s: %d bytes: is too large for a store",
			s.url(key), body.Size)}
	}
	j := &journal{path: path, sent: map[int32]sent{}, head: head{Endpoint: s.Endpoint, Bucket: s.Bucket, Key: *s.key(key),
		SHA256: body.SHA256, Size: body.Size, Part: part, Since: time.Now().UTC()}}
	err := s.again(ctx, func() error {
		out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.Bucket, Key: s.key(key),
			ChecksumAlgorithm: types.ChecksumAlgorithmSha256, Metadata: metadata(body, as), ContentType: text(as.ContentType),
			ContentEncoding: text(as.ContentEncoding), CacheControl: text(as.CacheControl)})
		if err != nil {
			return s.told(ctx, key, err, answered{})
		}
		if j.Upload = aws.ToString(out.UploadId); j.Upload == "" {
			return &broken{s.url(key), errors.New("the store gave an upload no id")}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := j.write(); err != nil {
		_ = s.abort(ctx, key, j.Upload)
		return nil, s.journalFailed(key, err)
	}
	return j, nil
}

// there returns the parts that the store has of an upload. The digest of one is that of the
// journal, or what the store says.
func (s *Store) there(ctx context.Context, key string, j *journal) (map[int32]sent, error) {
	found := map[int32]sent{}
	in := &s3.ListPartsInput{Bucket: &s.Bucket, Key: s.key(key), UploadId: &j.Upload}
	for {
		var page *s3.ListPartsOutput
		err := s.again(ctx, func() (err error) {
			page, err = s.client.ListParts(ctx, in)
			return s.told(ctx, key, err, answered{missing: bucket.ErrNotFound})
		})
		if err != nil {
			return nil, err
		}
		for _, p := range page.Parts {
			one := sent{Number: aws.ToInt32(p.PartNumber), ETag: aws.ToString(p.ETag), Size: aws.ToInt64(p.Size)}
			if known, ok := j.sent[one.Number]; ok && known.ETag == one.ETag && known.Size == one.Size {
				one.SHA256 = known.SHA256
			} else if raw, err := base64.StdEncoding.DecodeString(aws.ToString(p.ChecksumSHA256)); err == nil && len(raw) == 32 {
				one.SHA256 = hex.EncodeToString(raw)
			} else {
				continue
			}
			found[one.Number] = one
		}
		next := aws.ToString(page.NextPartNumberMarker)
		if !aws.ToBool(page.IsTruncated) || next == "" || next == aws.ToString(in.PartNumberMarker) {
			return found, nil
		}
		in.PartNumberMarker = &next
	}
}

// run sends the parts that are missing, and completes the upload.
func (s *Store) run(ctx context.Context, key string, body bucket.Body, as bucket.Meta, j *journal) (*bucket.Info,
	error) {
	parts, err := s.sendParts(ctx, key, body, j)
	if err != nil {
		return nil, err
	}
	// A store may put the parts together before it answers.
	patient := context.WithValue(ctx, patience{}, time.Duration(body.Size/(16*mib))*time.Second)
	return s.settled(ctx, key, body, as, func() (*bucket.Info, error) {
		out, err := s.client.CompleteMultipartUpload(patient, &s3.CompleteMultipartUploadInput{Bucket: &s.Bucket,
			Key: s.key(key), UploadId: &j.Upload, IfNoneMatch: aws.String("*"),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
		err = s.told(ctx, key, err, answered{failed: bucket.ErrExists})
		var refused *bucket.Refusal
		if errors.Is(err, errConflict) || errors.As(err, &refused) && lostUpload[refused.Code] {
			return nil, fmt.Errorf("%w: %w", errAnew, err)
		}
		if err != nil {
			return nil, err
		}
		return s.made(key, body, as, aws.ToString(out.ETag), clock(out.ResultMetadata)), nil
	})
}

// lostUpload are codes of a complete that no repetition helps; the parts have to be sent again.
var lostUpload = map[string]bool{"NoSuchUpload": true, "InvalidPart": true, "InvalidPartOrder": true}

// sendParts sends what is missing, and returns all parts.
func (s *Store) sendParts(ctx context.Context, key string, body bucket.Body, j *journal) (
	[]types.CompletedPart, error) {
	n := int((body.Size + j.Part - 1) / j.Part)
	parts := make([]types.CompletedPart, n)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		ahead, err := newHasher(body)
		if err != nil {
			return fmt.Errorf("%s: %w", s.url(key), err)
		}
		defer ahead.close()
		for i := range n {
			from := int64(i) * j.Part
			p := sent{Number: int32(i + 1), Size: min(j.Part, body.Size-from)}
			if p.SHA256, err = ahead.next(ctx, p.Size); err != nil {
				return fmt.Errorf("%s: %w", s.url(key), err)
			}
			j.mu.Lock()
			known := j.sent[p.Number]
			j.mu.Unlock()
			if known.SHA256 == p.SHA256 && known.Size == p.Size {
				parts[i] = finished(known)
				continue
			}
			select {
			case s.slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			group.Go(func() error {
				defer func() { <-s.slots }()
				var err error
				if p.ETag, err = s.sendPart(ctx, key, body, from, p, j.Upload); err != nil {
					return err
				}
				parts[i] = finished(p)
				if err := j.add(p); err != nil {
					return s.journalFailed(key, err)
				}
				return nil
			})
		}
		if ahead.sum() != body.SHA256 {
			return &bucket.Refusal{Code: "BadDigest", Err: fmt.Errorf("%s: %w", s.url(key), errOther)}
		}
		return nil
	})
	return parts, group.Wait()
}

func finished(p sent) types.CompletedPart {
	sum, _ := checksum(p.SHA256) // it was one
	return types.CompletedPart{PartNumber: &p.Number, ETag: &p.ETag, ChecksumSHA256: &sum}
}

// sendPart sends a part, again and again if it must: it has no condition.
func (s *Store) sendPart(ctx context.Context, key string, body bucket.Body, from int64, p sent, upload string) (
	etag string, err error) {
	sum, err := checksum(p.SHA256)
	if err != nil {
		return "", err
	}
	ctx = context.WithValue(ctx, digest{}, p.SHA256)
	err = s.again(ctx, func() error {
		bytes := newSection(body, from, p.Size)
		out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &s.Bucket, Key: s.key(key), UploadId: &upload,
			PartNumber: &p.Number, Body: bytes, ContentLength: &p.Size, ChecksumSHA256: &sum})
		if own := bytes.end(); own != nil && err != nil {
			return fmt.Errorf("%s: %w", s.url(key), own)
		}
		if err != nil {
			err = s.told(ctx, key, err, answered{missing: errAnew})
			if isGone(err) {
				return fmt.Errorf("%w: %w", errAnew, err)
			}
			return err
		}
		if etag = aws.ToString(out.ETag); etag == "" {
			return &broken{s.url(key), errors.New("the store gave a part no ETag")}
		}
		return nil
	})
	return etag, err
}

// hasher reads a body once, in order, for the digest of all and that of each part.
type hasher struct {
	r   io.ReadCloser
	all hash.Hash
	buf []byte
}

func newHasher(body bucket.Body) (*hasher, error) {
	r, err := body.Open(0)
	if err != nil {
		return nil, err
	}
	return &hasher{r: r, all: sha256.New(), buf: make([]byte, 256<<10)}, nil
}

// next returns the digest of the next n bytes.
func (h *hasher) next(ctx context.Context, n int64) (string, error) {
	part := sha256.New()
	for n > 0 {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		got, err := io.ReadFull(h.r, h.buf[:min(n, int64(len(h.buf)))])
		if err != nil {
			return "", err
		}
		_, _ = part.Write(h.buf[:got]) // neither fails
		_, _ = h.all.Write(h.buf[:got])
		n -= int64(got)
	}
	return hex.EncodeToString(part.Sum(nil)), nil
}

func (h *hasher) sum() string { return hex.EncodeToString(h.all.Sum(nil)) }

func (h *hasher) close() { _ = h.r.Close() } // it was only read
