package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"example.com/publish/publish/fault"
)

// probes is how many writers meet in a probe.
const probes = 16

// Probe tries whether a store does what the protocol needs, with objects below
// _publish/probe that it deletes again. A *[fault.Error] of kind Usage names what the store
// fails, and what that would mean; any other error is that of a request.
func Probe(ctx context.Context, s Store) (err error) {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce) // never fails
	p := &probe{store: s, ctx: ctx, begin: "_publish/probe/" + hex.EncodeToString(nonce) + "-"}
	defer func() {
		if ended := p.clean(); err == nil {
			err = ended
		}
	}()
	for _, step := range []func() error{p.createTwice, p.createTogether, p.swapTogether, p.swapStale, p.swapMissing,
		p.wrongDigest, p.readBeside} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type probe struct {
	store Store
	ctx   context.Context
	begin string
	keys  []string
	first *Info // of the object to swap, before the first swap
}

var probeMeta = Meta{Owner: "probe", ContentType: typePlain}

func (p *probe) key(name string) string {
	p.keys = append(p.keys, p.begin+name)
	return p.begin + name
}

func probeBody(text string) Body {
	sum := sha256.Sum256([]byte(text))
	return Body{Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:]), Open: func(from int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(text)[from:])), nil
	}}
}

// fails says what the store does that it must not.
func (p *probe) fails(fact, means string, err error) error {
	return &fault.Error{Kind: fault.Usage, Fact: "this object store cannot hold production: " + fact, Err: err,
		Hint: means + "; use another store, or a newer version of it"}
}

// lacks is an error of a request: one that says that the store does not know conditions
// is a fact about the store.
func (p *probe) lacks(err error, what, means string) error {
	var refused *Refusal
	if errors.As(err, &refused) && (refused.Status == 501 || refused.Code == "NotImplemented") {
		return p.fails("it does not know "+what, means, err)
	}
	return err
}

const (
	onlyNew    = "a create on the condition that nothing is there (If-None-Match: *)"
	onlySame   = "a replacement on the condition of an ETag (If-Match)"
	overwrites = "two machines could overwrite each other's files"
	loses      = "of two promotes at once one could be lost"
)

func (p *probe) createTwice() error {
	key := p.key("twice")
	first := probeBody("first\n")
	if _, err := p.store.Create(p.ctx, key, first, probeMeta); err != nil {
		return p.lacks(err, onlyNew, overwrites)
	}
	switch _, err := p.store.Create(p.ctx, key, probeBody("second\n"), probeMeta); {
	case err == nil:
		return p.fails("it replaces an object with "+onlyNew, overwrites, nil)
	case !errors.Is(err, ErrExists):
		return p.lacks(err, onlyNew, overwrites)
	}
	there, err := p.store.Head(p.ctx, key)
	if err != nil {
		return err
	}
	if there.SHA256 != first.SHA256 || there.Size != first.Size || there.Owner != probeMeta.Owner {
		return p.fails("it does not keep what an object says of itself (x-amz-meta-sha256, x-amz-meta-publish)",
			"whose an object is, and whether it is whole, could not be told", nil)
	}
	return nil
}

// together runs f for each writer at once; the results are in their order.
func together(f func(i int) error) []error {
	out := make([]error, probes)
	var group sync.WaitGroup
	for i := range probes {
		group.Go(func() { out[i] = f(i) })
	}
	group.Wait()
	return out
}

func (p *probe) createTogether() error {
	key := p.key("created")
	return p.one(key, ErrExists, onlyNew, overwrites, together(func(i int) error {
		_, err := p.store.Create(p.ctx, key, probeBody(probeText(i)), probeMeta)
		return err
	}))
}

func probeText(i int) string { return fmt.Sprintf("writer %d\n", i) }

// one finds that exactly one writer has won, and that the object is theirs. A writer whose
// outcome is not known may be the one.
func (p *probe) one(key string, lost error, what, means string, results []error) error {
	winner, won, unknown := "", 0, error(nil)
	maybe := map[string]bool{}
	for i, err := range results {
		switch {
		case err == nil:
			winner = probeText(i)
			won++
		case !errors.Is(err, lost):
			unknown = p.lacks(err, what, means)
			maybe[probeText(i)] = true
		}
	}
	if won > 1 {
		return p.fails(fmt.Sprintf("%d of %d writers at once won with %s", won, probes, what), means, nil)
	}
	text, err := p.read(key)
	switch {
	case unknown != nil && (err != nil || !maybe[text] && text != winner):
		return unknown
	case err != nil:
		return err
	case won == 1 && text != winner || won == 0 && !maybe[text]:
		return p.fails(fmt.Sprintf("after %d writers at once the object is not that of the one who won with %s",
			probes, what), means, nil)
	}
	return nil
}

func (p *probe) read(key string) (string, error) {
	o, err := p.store.Get(p.ctx, key, Get{})
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(o.Body, 1<<10))
	return string(data), errors.Join(err, o.Body.Close())
}

func (p *probe) swapTogether() (err error) {
	key := p.key("swapped")
	if p.first, err = p.store.Create(p.ctx, key, probeBody("first\n"), probeMeta); err != nil {
		return err
	}
	return p.one(key, ErrMoved, onlySame, loses, together(func(i int) error {
		_, err := p.store.Swap(p.ctx, key, p.first.ETag, probeBody(probeText(i)), probeMeta)
		return err
	}))
}

func (p *probe) swapStale() error {
	switch _, err := p.store.Swap(p.ctx, p.first.Key, p.first.ETag, probeBody("stale\n"), probeMeta); {
	case err == nil:
		return p.fails("it replaces an object that has changed with "+onlySame, loses, nil)
	case !errors.Is(err, ErrMoved):
		return p.lacks(err, onlySame, loses)
	}
	return nil
}

func (p *probe) swapMissing() error {
	switch _, err := p.store.Swap(p.ctx, p.key("missing"), p.first.ETag, probeBody("missing\n"), probeMeta); {
	case err == nil:
		return p.fails("it makes an object with "+onlySame, "production that was deleted could come back as an old one", nil)
	case !errors.Is(err, ErrMoved):
		return p.lacks(err, onlySame, loses)
	}
	return nil
}

// readBeside finds whether a read beside a write can give the bytes of one moment with the
// ETag of another. Where the ETag is the MD5 of the bytes, that is seen: see [Site.pair].
func (p *probe) readBeside() error {
	key := p.key("read")
	info, err := p.store.Create(p.ctx, key, probeBody(probeText(0)), probeMeta)
	if err != nil {
		return err
	}
	type answer struct{ etag, text string }
	var mu sync.Mutex
	var seen []answer
	var readers sync.WaitGroup
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	for range probes / 4 {
		readers.Go(func() {
			for range 8 * probes {
				o, err := p.store.Get(ctx, key, Get{})
				if err != nil {
					return // what is wrong with the store is for the other steps
				}
				data, err := io.ReadAll(io.LimitReader(o.Body, 1<<10))
				if err = errors.Join(err, o.Body.Close()); err != nil {
					return
				}
				mu.Lock()
				seen = append(seen, answer{o.ETag, string(data)})
				mu.Unlock()
			}
		})
	}
	texts := map[string]string{info.ETag: probeText(0)} // by the ETags that writers were told
	for i := 1; i < probes && err == nil; i++ {
		if info, err = p.store.Swap(p.ctx, key, info.ETag, probeBody(probeText(i)), probeMeta); err == nil {
			texts[info.ETag] = probeText(i)
		}
	}
	stop()
	readers.Wait()
	if err != nil {
		return p.lacks(err, onlySame, loses)
	}
	for _, a := range seen {
		if want, ok := texts[a.etag]; ok && want != a.text && fits([]byte(a.text), a.etag) {
			return p.fails("it answers a read beside a write with the bytes of one moment and the ETag of another", loses, nil)
		}
	}
	return nil
}

func (p *probe) wrongDigest() error {
	key := p.key("wrong")
	body := probeBody("right\n")
	body.SHA256 = probeBody("wrong\n").SHA256
	const fact, means = "it takes bytes whose checksum (x-amz-checksum-sha256) is wrong",
		"a file that was damaged on its way would be published"
	_, err := p.store.Create(p.ctx, key, body, probeMeta)
	if err == nil {
		return p.fails(fact, means, nil)
	}
	var refused *Refusal
	if !errors.As(err, &refused) {
		return err
	}
	switch _, err := p.store.Head(p.ctx, key); {
	case err == nil:
		return p.fails(fact, means, nil)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return nil
}

// clean deletes the objects: who cannot delete cannot collect garbage either. It goes on
// after an interrupt.
func (p *probe) clean() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), time.Minute)
	defer cancel()
	stay, err := p.store.Delete(ctx, p.keys, true)
	if err == nil && len(stay) > 0 {
		err = stay[0].Err
	}
	return err
}
