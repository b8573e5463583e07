package publish

import (
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// CheckWith has Validate and Verify also check signatures, with public keys. In staging those are
// checked that others made; a generation must have those for which the keys are.
func (r *Repo) CheckWith(keys *sign.Keyring) { r.keys = keys }

// signatures returns what is wrong with the signatures of a generation.
func (r *Repo) signatures(g *generation.Tree) ([]catalog.Finding, error) {
	if r.keys == nil {
		return nil, nil
	}
	v, err := g.View()
	if err != nil {
		return nil, err
	}
	named := map[string]string{}
	for _, row := range g.Own {
		if at := r.lasting(row); at != "" && row.Role == catalog.Mutable {
			named[at] = row.Path
		}
	}
	found := sign.CheckTree(v.Contents(), g.Own, r.keys, r.now(), named)
	missing := func(path, fact string) {
		found = append(found, catalog.Finding{Severity: catalog.Error, Code: sign.CodeMissing, Path: path, Message: fact})
	}
	openpgp, minisign := r.keys.Has()
	rows := tree.NewRows(g.Own)
	for _, path := range []string{sign.ListingName, sign.ListingName + ".minisig"} {
		if _, ok := rows.Get(path); minisign && !ok {
			missing(path, "is not there: nobody signed the list of this generation")
		}
	}
	_, signs := catalog.As[catalog.Signer](r.format)
	if signs && openpgp && !slices.ContainsFunc(g.Own, func(row tree.Row) bool {
		return strings.HasSuffix(row.Path, ".sjson")
	}) {
		missing("", "no document of this generation is signed inside")
	}
	return found, v.Close()
}

// stagedSignatures returns what is wrong with the signatures in staging.
func (r *Repo) stagedSignatures(rows []tree.Row) ([]catalog.Finding, error) {
	if r.keys == nil {
		return nil, nil
	}
	src, err := tree.OpenSource(r.Stage.Dir)
	if err != nil {
		return nil, err
	}
	return sign.CheckTree(tree.Contents(src.Root()), rows, r.keys, r.now(), nil), src.Close()
}
