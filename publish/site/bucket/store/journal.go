package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/durable"
)

// A journal is a file for each body that goes in parts, so that a killed upload goes on.
// Its name is a digest of the bucket, the key and the body. The first line says which upload
// it is, each other one a part that the store has; all are sealed. A line is synced, but
// nothing is lost without it: what the store has is asked for before anything is sent.
//
// Two processes may send the same body, and write the same file: each line names its upload,
// and of two uploads one becomes the object.

// head is the first line.
type head struct {
	Endpoint string    `json:"endpoint"`
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"` // in the bucket
	SHA256   string    `json:"sha256"`
	Size     int64     `json:"size"`
	Upload   string    `json:"upload"`
	Part     int64     `json:"part"` // bytes of each but the last
	Since    time.Time `json:"since"`
}

// sent is a part that the store has.
type sent struct {
	Upload string `json:"upload,omitempty"`
	Number int32  `json:"part"`
	ETag   string `json:"etag"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// journal is open: parts are added.
type journal struct {
	head
	path string // "": it is not written
	mu   sync.Mutex
	sent map[int32]sent
}

const journalLimit = 8 * mib // 10,000 parts have 2 MiB

// journalPath is where the journal of a body is.
func (s *Store) journalPath(key string, body bucket.Body) string {
	if s.Journal == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Endpoint + "\x00" + s.Bucket + "\x00" + *s.key(key) + "\x00" + body.SHA256))
	return filepath.Join(s.Journal, hex.EncodeToString(sum[:]))
}

// readJournal returns the journal at path; nil if there is none, or none that can be read.
func readJournal(path string) (*journal, error) {
	data, err := durable.ReadFile(path, journalLimit)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrTooLong) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j := &journal{path: path, sent: map[int32]sent{}}
	whole, _ := durable.SplitTorn(data)
	for i, line := range bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n")) {
		text, ok := durable.Unline(line)
		if i == 0 {
			if !ok || json.Unmarshal(text, &j.head) != nil || j.Upload == "" || j.Part <= 0 {
				return nil, nil
			}
			continue
		}
		var p sent
		if ok && json.Unmarshal(text, &p) == nil && p.Upload == j.Upload {
			j.sent[p.Number] = p
		}
	}
	return j, nil
}

// write writes all of it: also after a crash, which may have left a torn line.
func (j *journal) write() error {
	if j.path == "" {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(j.path), 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(j.head)
	if err != nil {
		return err
	}
	data := durable.Line(text)
	for _, p := range j.sent {
		p.Upload = j.Upload
		if text, err = json.Marshal(p); err != nil {
			return err
		}
		data = append(data, durable.Line(text)...)
	}
	return durable.WriteFile(j.path, data, 0o600)
}

// add records a part. Another process may have removed the file: it sent the same body.
func (j *journal) add(p sent) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sent[p.Number] = p
	if j.path == "" {
		return nil
	}
	p.Upload = j.Upload
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := durable.AppendLine(j.path, durable.Line(text)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// remove removes the file, which nobody needs any more.
func (j *journal) remove() error {
	if j.path == "" {
		return nil
	}
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

var _ bucket.Resumer = (*Store)(nil)

// Abandoned implements [bucket.Resumer]: the uploads of which a journal is there.
func (s *Store) Abandoned() ([]bucket.Abandoned, error) {
	if s.Journal == "" {
		return nil, nil
	}
	list, err := os.ReadDir(s.Journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []bucket.Abandoned
	for _, d := range list {
		if _, err := hex.DecodeString(d.Name()); err != nil || len(d.Name()) != 64 || !d.Type().IsRegular() {
			continue
		}
		j, err := readJournal(filepath.Join(s.Journal, d.Name()))
		if err != nil {
			return nil, err
		}
		key, mine := "", false
		if j != nil {
			key, mine = s.relative(j.Key)
		}
		if !mine || j.Bucket != s.Bucket || j.Endpoint != s.Endpoint {
			continue
		}
		info, err := d.Info()
		if err != nil {
			continue // it has ended
		}
		a := bucket.Abandoned{Key: key, Upload: j.Upload, Size: j.Size, Since: j.Since, Last: info.ModTime(), File: j.path}
		for _, p := range j.sent {
			a.Sent += p.Size
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b bucket.Abandoned) int { return a.Since.Compare(b.Since) })
	return out, nil
}

// relative is the key below the prefix.
func (s *Store) relative(key string) (string, bool) {
	n := len(*s.key(""))
	if len(key) < n || key[:n] != *s.key("") {
		return "", false
	}
	return key[n:], true
}

// Abort implements [bucket.Resumer]: the store deletes the parts, and the journal goes.
func (s *Store) Abort(ctx context.Context, a bucket.Abandoned) error {
	if err := s.abort(ctx, a.Key, a.Upload); err != nil {
		return err
	}
	return (&journal{path: a.File}).remove()
}

// abort deletes the parts of an upload, which may be gone already.
func (s *Store) abort(ctx context.Context, key, upload string) error {
	err := s.again(ctx, func() error {
		_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.Bucket, Key: s.key(key),
			UploadId: &upload})
		return s.told(ctx, key, err, answered{missing: bucket.ErrNotFound})
	})
	if isGone(err) || errors.Is(err, bucket.ErrNotFound) {
		return nil
	}
	return err
}

// isGone reports whether the store knows no such upload.
func isGone(err error) bool {
	var refused *bucket.Refusal
	return errors.As(err, &refused) && refused.Code == "NoSuchUpload"
}

// forget ends what is left of an upload of which the object exists. What fails is no
// failure of the create: the journal stays, and shows it.
func (s *Store) forget(ctx context.Context, key string, body bucket.Body) {
	path := s.journalPath(key, body)
	if path == "" {
		return
	}
	if j, err := readJournal(path); err == nil && j != nil && s.abort(ctx, key, j.Upload) == nil {
		_ = j.remove()
	}
}

// fits reports whether a journal is that of this body; another has come by its name
// only if somebody wrote it.
func (j *journal) fits(s *Store, key string, body bucket.Body) bool {
	return j.Bucket == s.Bucket && j.Endpoint == s.Endpoint && j.Key == *s.key(key) && j.SHA256 == body.SHA256 &&
		j.Size == body.Size && j.Part >= minPart && (body.Size+j.Part-1)/j.Part <= maxParts
}

// failed wraps an error of the journal.
func (s *Store) journalFailed(key string, err error) error {
	return fmt.Errorf("%s: what was sent cannot be recorded: %w", s.url(key), err)
}
