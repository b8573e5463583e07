//go:build linux && (amd64 || arm64)

package main

// The scenarios of a production in an object store, of which the repository is one of two
// machines.

const inStore = add + `
"$PUBLISH" init --production s3://images/pub .
`

// sharedHistory is history, of such a production.
const sharedHistory = inStore + `
add 0; "$PUBLISH" promote -m one
add 1; "$PUBLISH" promote -m two
"$PUBLISH" stage remove os0:1:default:amd64; add 2; "$PUBLISH" promote -m three
`

// another has another machine do something.
const another = `
another() { PUBLISH_REPO=../other "$PUBLISH" "$@"; }
rm -rf ../other; "$PUBLISH" init --production s3://images/pub ../other
`

// sharedExpired is expired, of such a production. The store's clock has whole seconds.
const sharedExpired = inStore + `
echo 'grace: 5s' >> publish.yaml
add 0; "$PUBLISH" promote
add 1; "$PUBLISH" stage remove os0:1:default:amd64; "$PUBLISH" promote
add 2; "$PUBLISH" stage remove os1:1:default:amd64; "$PUBLISH" promote
sleep 7
`

var bucketScenarios = []scenario{
	{name: "bucket-init", bucket: true, setup: `true`, verb: []string{"init", "--production", "s3://images/pub", "."},
		adopts: true, again: 2, probe: add + `add 0; "$PUBLISH" promote; "$PUBLISH" verify`},
	{name: "bucket-join", bucket: true, setup: `rm -rf ../other; mkdir ../other; cd ../other` + sharedHistory,
		verb: []string{"init", "--production", "s3://images/pub", "."}, adopts: true, again: 2,
		finish: []string{"stage", "reset"}, probe: add + `add 3; "$PUBLISH" promote; "$PUBLISH" verify`},
	{name: "bucket-first-promote", bucket: true, setup: inStore + "add 0\n", verb: []string{"promote", "-m", "first"}},
	{name: "bucket-promote", bucket: true, setup: sharedHistory + change, verb: []string{"promote", "-m", "four"},
		probe: `"$PUBLISH" promote; "$PUBLISH" status --check; "$PUBLISH" verify --full`},
	{name: "bucket-promote-with-gc", bucket: true, setup: sharedExpired + "add 3\n", verb: []string{"promote"},
		dropsCarried: true},
	{name: "bucket-rebase", bucket: true, setup: sharedHistory + change + another + `
another stage add "$IMAGES/0/metadata.tar.gz" "$IMAGES/0/rootfs.squashfs"
another stage remove os2:1:default:amd64; another promote -m other
`, verb: []string{"promote", "-m", "four"}, probe: `grep -q os0: staging/streams/v1/images.json
! grep -q os2: staging/streams/v1/images.json; "$PUBLISH" status --check; "$PUBLISH" diff --exit-code`},
	{name: "bucket-revert", bucket: true, setup: sharedHistory, verb: []string{"revert", "-m", "back"}},
	{name: "bucket-gc", bucket: true, setup: sharedExpired, verb: []string{"gc"}, dropsCarried: true},
	{name: "bucket-hold", bucket: true, setup: sharedHistory + change, verb: []string{"hold", "-m", "not now"}, again: 6,
		probe: `! "$PUBLISH" promote`},
	{name: "bucket-reset", bucket: true, setup: sharedHistory + change + another + `
another stage remove os2:1:default:amd64; another promote -m other
`, verb: []string{"stage", "reset"}, unites: true, probe: `"$PUBLISH" diff --exit-code; "$PUBLISH" promote`},
	{name: "bucket-revoke", bucket: true, setup: sharedHistory,
		verb:    []string{"revoke", "os1:1:default:amd64/20260102_00:00", "-m", "leaked"},
		revokes: []string{"1/*"}, probe: `"$PUBLISH" revert 2`},
	{name: "bucket-recover-before", bucket: true, setup: sharedHistory + change, wreck: []string{"promote"},
		verb: []string{"recover"}},
	{name: "bucket-recover-after", bucket: true, setup: sharedHistory + change, wreck: []string{"promote"}, after: true,
		verb: []string{"recover"}, probe: `"$PUBLISH" promote; "$PUBLISH" diff --exit-code`},
}

func init() { scenarios = append(scenarios, bucketScenarios...) }
