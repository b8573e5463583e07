package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// atOnce is how many files are read at the same time.
const atOnce = 4

// maxFindings is how many files that are wrong end the reading: more of them say nothing more.
const maxFindings = 100

// files reads every file of the list. What a link leads to is a file of the list too.
func (v *verifier) files(ctx context.Context) error {
	placed, err := v.placed(ctx)
	if err != nil {
		return err
	}
	var mutex sync.Mutex // of the findings
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(atOnce)
	var wrong atomic.Int64
	for _, r := range v.list.All() {
		if r.Role == catalog.Link || placed != nil && r.Path == indexPath {
			continue
		}
		at := cmp.Or(placed[r.SHA256], r.Path)
		if ctx.Err() != nil || wrong.Load() >= maxFindings {
			break
		}
		work.Go(func() error {
			code, fact, err := v.file(ctx, at, r)
			if err != nil {
				return err
			}
			mutex.Lock()
			defer mutex.Unlock()
			v.out.Files++
			if code != "" {
				wrong.Add(1)
				v.find(code, r.Path, "%s", fact)
			}
			return nil
		})
	}
	return work.Wait()
}

// file compares the file at a path with its row.
func (v *verifier) file(ctx context.Context, at string, r tree.Row) (code, fact string, err error) {
	if v.Forms != nil && v.Forms.Serves(r.Path) {
		return v.form(ctx, at, r)
	}
	body, err := v.open(ctx, at)
	if err != nil {
		return "", "", err
	}
	if body == nil {
		return Missing, "the server does not have it", nil
	}
	defer body.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(&counted{body, v}, r.Size+1))
	switch {
	case err != nil:
		return "", "", v.fault(ctx, at, err)
	case n != r.Size:
		return Differs, "has another size than was signed", nil
	case hex.EncodeToString(h.Sum(nil)) != r.SHA256:
		return Differs, "has another content than was signed", nil
	}
	return "", "", nil
}

// form is file for a document that may be served in a longer form: such as the index of a layout,
// which also names what clients may still ask for.
func (v *verifier) form(ctx context.Context, at string, r tree.Row) (code, fact string, err error) {
	data, found, err := v.get(ctx, at, catalog.MaxDocument)
	switch {
	case errors.Is(err, durable.ErrTooLong):
		return Large, fmt.Sprintf("has more than %d bytes", catalog.MaxDocument), nil
	case err != nil:
		return "", "", err
	case !found:
		return Missing, "the server does not have it", nil
	}
	is := func(data []byte) bool {
		sum := sha256.Sum256(data)
		return int64(len(data)) == r.Size && hex.EncodeToString(sum[:]) == r.SHA256
	}
	if is(data) || is(v.Forms.Own(data)) {
		return "", "", nil
	}
	return Differs, "has another content than was signed", nil
}

// counted counts what is read.
type counted struct {
	io.Reader
	v *verifier
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	atomic.AddInt64(&c.v.out.Bytes, int64(n))
	if c.v.Progress != nil {
		c.v.Progress(int64(n))
	}
	return n, err
}
