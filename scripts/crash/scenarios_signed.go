//go:build linux && (amd64 || arm64)

package main

// The scenarios of a production that is signed.

const signs = `
printf 'sign:\n  openpgp: {key: %s/keys/secret.asc}\n  minisign: {key: %s/keys/minisign.key}\n' \
	"$IMAGES" "$IMAGES" >> publish.yaml
`

// signedHistory is history, signed.
const signedHistory = add + `
"$PUBLISH" init --switch "$MODE" .
printf 'switch: %s\n' "$MODE" > publish.yaml
` + signs + `
add 0; "$PUBLISH" promote -m one
add 1; "$PUBLISH" promote -m two
"$PUBLISH" stage remove os0:1:default:amd64; add 2; "$PUBLISH" promote -m three
`

// sharedSigned is sharedHistory, signed.
const sharedSigned = inStore + signs + `
add 0; "$PUBLISH" promote -m one
add 1; "$PUBLISH" promote -m two
"$PUBLISH" stage remove os0:1:default:amd64; add 2; "$PUBLISH" promote -m three
`

// trusted is what clients find: each document, and the list, is what the keys signed.
const trusted = `"$PUBLISH" verify --key "$IMAGES/keys/pub.asc" --key "$IMAGES/keys/minisign.pub"`

// signed is a probe: so it is in the end, once what failed is made up for, and nothing is due.
const signed = `"$PUBLISH" sign --due; ` + trusted + `; "$PUBLISH" status --check`

func init() {
	for _, s := range []scenario{
		{name: "promote-signed", setup: signedHistory + change, verb: []string{"promote", "-m", "four"}},
		{name: "revert-signed", setup: signedHistory, verb: []string{"revert", "-m", "back"}},
		{name: "revoke-signed", setup: signedHistory, verb: []string{"revoke", "os1:1:default:amd64", "-m", "leaked"},
			revokes: []string{"1/*"}},
		{name: "sign", setup: signedHistory, verb: []string{"sign", "-m", "again"}},
		{name: "bucket-promote-signed", bucket: true, setup: sharedSigned + change, verb: []string{"promote", "-m", "four"}},
		{name: "bucket-revert-signed", bucket: true, setup: sharedSigned, verb: []string{"revert", "-m", "back"}},
		{name: "bucket-sign", bucket: true, setup: sharedSigned, verb: []string{"sign", "-m", "again"}},
	} {
		s.probe = signed
		if !s.bucket {
			s.clients = trusted
		}
		scenarios = append(scenarios, s)
	}
}
