package main

import (
	"errors"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/sign"
	"example.com/publish/publish/sign/remote"
	"example.com/publish/stage/catalog"
)

// keyFlag names the keys to check signatures with.
func keyFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "key",
		Usage: "check signatures with the public keys in `FILE`, of OpenPGP or minisign; may be given again"}
}

// keyring reads the keys that a command was given.
func keyring(c *cli.Context) (*sign.Keyring, error) {
	k, err := sign.OpenKeyring(c.StringSlice("key")...)
	if bad := new(sign.KeyError); errors.As(err, &bad) {
		return nil, &publish.Error{Kind: publish.Usage, Path: bad.Path, Fact: bad.Fact, Hint: bad.Hint}
	}
	return k, err
}

// checkWith has a repository check signatures, if the command was given keys.
func checkWith(r *publish.Repo, c *cli.Context) error {
	if len(c.StringSlice("key")) == 0 {
		return nil
	}
	keys, err := keyring(c)
	if err == nil {
		r.CheckWith(keys)
	}
	return err
}

// verifiedURL is the answer of verify about a server.
type verifiedURL struct {
	URL        string            `json:"url"`
	Generation int               `json:"generation"` // 0: no signed list was checked
	TreeID     string            `json:"tree_id"`
	Made       *time.Time        `json:"made"`      // null: no signed list was checked
	Until      *time.Time        `json:"until"`     // null: it does not end
	Documents  []string          `json:"documents"` // whose signatures are good
	Findings   []catalog.Finding `json:"findings"`
	Checked    readSums          `json:"checked"`
}

// readSums is what was read.
type readSums struct {
	Files int64 `json:"files"` // of the signed list
	Bytes int64 `json:"bytes"` // of all
}

func (p *program) verifyURL(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("leave one of them out", "--url and a generation: a server has one")
	}
	if len(c.StringSlice("key")) == 0 {
		return usage("--key FILE, a file that the publisher gave out", "--url needs keys to check the server with")
	}
	keys, err := keyring(c)
	if err != nil {
		return err
	}
	o := remote.Options{URL: c.String("url"), Keys: keys, After: c.Int("after"), Full: c.Bool("full"), Now: p.clock}
	for _, f := range formats { // which format the server has is not known
		if s := catalog.Serving(f.format); s != nil {
			o.Forms = s
		}
	}
	r, err := remote.Verify(c.Context, o)
	if err != nil {
		return err
	}
	answer := verifiedURL{URL: o.URL, Generation: r.Generation, TreeID: r.TreeID, Until: r.Until, Documents: r.Documents,
		Findings: r.Findings, Checked: readSums{r.Files, r.Bytes}}
	if r.Generation > 0 {
		answer.Made = &r.Made
	}
	err = p.answer(answer, func() {
		for _, f := range r.Findings {
			p.say("%s", findingLine(f))
		}
		if len(r.Findings) == 0 {
			p.idle("%s", p.signedWell(r, o.Full))
		}
	})
	if n := len(r.Findings); err == nil && n > 0 {
		err = &publish.Error{Kind: publish.Invalid, Path: o.URL, Fact: "is not what the keys say: " +
			count(n, "error") + " found"}
	}
	return err
}

// signedWell says what was checked on a server.
func (p *program) signedWell(r *remote.Result, full bool) string {
	text := "the signatures are good: "
	if r.Generation > 0 {
		text += "generation " + strconv.Itoa(r.Generation) + " of " + p.when(r.Made)
		if r.Until != nil {
			text += ", good until " + p.when(*r.Until)
		}
		if full {
			text += ", " + count(int(r.Files), "file")
		}
		if len(r.Documents) > 0 {
			text += ", "
		}
	}
	if n := len(r.Documents); n > 0 {
		text += count(n, "document")
	}
	return text
}
