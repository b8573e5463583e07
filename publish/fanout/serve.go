package fanout

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"example.com/publish/publish"
	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Host opens the repository of a target, and makes it if there is none. It refuses a
// directory that has something else. That of a target in an object store, of which setup.S3
// is not nil, gets the configuration of setup again each time.
type Host func(ctx context.Context, dir string, setup publish.Setup) (*publish.Repo, error)

// Serve is the end of a target: it brings the repository at dir to what the leader at the
// other end has. The error is also sent to the leader.
func Serve(ctx context.Context, in io.ReadCloser, out io.Writer, dir string, host Host) error {
	return serve(ctx, in, out, dir, host, nil)
}

// near opens the file of a content that a leader on this machine has.
type near func(row tree.Row) (*os.File, error)

// serve is Serve, beside the leader if near is not nil.
func serve(ctx context.Context, in io.ReadCloser, out io.Writer, dir string, host Host, near near) error {
	s := &serving{in: bufio.NewReaderSize(in, 64<<10), out: bufio.NewWriter(out), host: host, dir: dir, near: near}
	err := s.run(ctx)
	if err != nil {
		_ = in.Close() // a leader that is writing stops, and reads
		err = errors.Join(err, s.say(failedAnswer(err, s.serves)))
	}
	return err
}

type serving struct {
	in     *bufio.Reader
	out    *bufio.Writer
	host   Host
	dir    string
	near   near // nil: the leader is elsewhere, or nothing can be cloned
	serves int  // the generation that is production
}

func (s *serving) say(a answer) error {
	if err := writeObject(s.out, a); err != nil {
		return err
	}
	return s.out.Flush()
}

func (s *serving) run(ctx context.Context) error {
	if _, err := s.out.WriteString(greeting + "\n"); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	var h hello
	if err := readObject(s.in, &h); err != nil {
		return leaderCut(err)
	}
	r, err := s.host(ctx, s.dir, h.Setup)
	if err != nil {
		return err
	}
	if f := r.Config.Format; f != h.Setup.Format {
		return &publish.Error{Kind: publish.Usage, Path: r.Dir,
			Fact: fmt.Sprintf("is of format %s, and its leader of %s", f, clip(h.Setup.Format))}
	}
	p, at, err := r.Receive(ctx, publish.Leader{ID: h.Leader, Target: h.Target},
		publish.At{Generation: h.Generation, TreeID: h.TreeID, Tombstones: h.Revoked})
	if err != nil {
		return err
	}
	defer p.Close()
	s.serves = at.Generation
	err = s.say(answer{State: "at", Generation: at.Generation, TreeID: at.TreeID, Revoked: at.Tombstones})
	if err != nil {
		return err
	}
	var o offer
	if err := readObject(s.in, &o); err == io.EOF {
		return nil // it has nothing else
	} else if err != nil {
		return leaderCut(err)
	}
	m, stones, err := s.offered(o)
	if err != nil {
		return err
	}
	if m.Generation != h.Generation || m.TreeID != h.TreeID {
		return &publish.Error{Kind: publish.Invalid, Fact: "the leader offers another generation than it said"}
	}
	lacks, err := p.Offer(ctx, m, stones, h.Revoked)
	for rounds := 0; err == nil && len(lacks) > 0; rounds++ {
		if rounds == 3 {
			return &publish.Error{Fact: "contents are deleted here while others come", Hint: "sync again"}
		}
		if err := s.fetch(ctx, p, m, lacks); err != nil {
			return err
		}
		lacks, err = p.Lacks(ctx)
	}
	if err != nil {
		return err
	}
	done, err := p.Finish(ctx)
	if done != nil {
		s.serves = done.Generation
	}
	if err != nil {
		return err
	}
	return s.say(answer{State: "done", Generation: done.Generation, TreeID: m.TreeID, Revoked: h.Revoked, From: done.From,
		Switched: done.Switched, Carried: done.Carried, NewBytes: done.NewBytes, Redacted: done.Redacted,
		Warnings: few(done.Warnings)})
}

// few bounds the warnings of an answer.
func few(list []string) []string {
	const most = 20
	if n := len(list) - most; n > 0 {
		list = append(list[:most:most], fmt.Sprintf("and %d more", n))
	}
	for i := range list {
		list[i] = clip(list[i])
	}
	return list
}

// leaderCut is the error for a leader that breaks off or sends what cannot be read.
func leaderCut(err error) error {
	return &publish.Error{Fact: "the leader broke off", Err: err}
}

// offered reads the manifest and the stones.
func (s *serving) offered(o offer) (*generation.Manifest, []tombstone.Stone, error) {
	if o.Manifest < 0 || o.Stones < 0 || o.Stones > maxStones {
		return nil, nil, &publish.Error{Kind: publish.Invalid, Fact: "the leader offers too much"}
	}
	m, err := generation.ReadForeign(s.in, o.Manifest)
	if err != nil {
		return nil, nil, err
	}
	var text bytes.Buffer // it grows with what comes
	if _, err := io.CopyN(&text, s.in, o.Stones); err != nil {
		return nil, nil, leaderCut(err)
	}
	var stones []tombstone.Stone
	for line := range strings.Lines(text.String()) {
		var st tombstone.Stone
		if err := json.Unmarshal([]byte(line), &st); err != nil || st.Done || st.Before < 1 {
			return nil, nil, &publish.Error{Kind: publish.Invalid, Fact: "what the leader revoked cannot be read", Err: err}
		}
		for _, v := range st.Revoked {
			if _, err := catalog.ParseDigest("sha256:" + v.SHA256); err != nil {
				return nil, nil, &publish.Error{Kind: publish.Invalid, Fact: "what the leader revoked cannot be read", Err: err}
			}
		}
		stones = append(stones, st)
	}
	return m, stones, nil
}

// fetch asks for contents and keeps them.
func (s *serving) fetch(ctx context.Context, p *publish.Reception, m *generation.Manifest, rows []tree.Row) error {
	rows, err := s.clone(ctx, p, rows)
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := writeObject(s.out, answer{State: "lacks", Generation: s.serves, Lacks: len(rows)}); err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := s.out.WriteString(generation.ContentKey(row) + "\n"); err != nil {
			return err
		}
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	return generation.ReadContents(ctx, s.in, m, rows, p.Put)
}

// clone keeps clones of what a leader on the same file system has, and returns the rows of
// which there are none.
func (s *serving) clone(ctx context.Context, p *publish.Reception, rows []tree.Row) (left []tree.Row, err error) {
	for i, row := range rows {
		if s.near == nil {
			return append(left, rows[i:]...), nil
		}
		if row.Role == catalog.Link {
			left = append(left, row)
			continue
		}
		f, err := s.near(row)
		if err == nil {
			err = p.Clone(ctx, row, f)
			_ = f.Close() // it was only read
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, durable.ErrUnsupported):
			s.near = nil // for the others it would say the same
			left = append(left, row)
		case err != nil: // the leader sends it, or says what is wrong
			left = append(left, row)
		}
	}
	return left, nil
}
