//go:build linux && (amd64 || arm64)

package main

// scenario is a state of a repository and a command to break in it.
type scenario struct {
	name  string
	setup string   // shell, run in the empty directory of the repository
	verb  []string // arguments of publish; "$IMAGES" in them is replaced

	// wreck, when it is set, is a command that is killed just before
	// (after: just after) its switch, on top of setup.
	wreck []string
	after bool

	// dropsCarried: the command may delete what no index names any more.
	dropsCarried bool

	// removes: run again, the command finds nothing to remove: exit 5.
	removes bool
}

// history makes three generations: image 0, then 1 as well, then 0 away, so
// that it is carried.
const history = `
"$PUBLISH" init --switch "$MODE" .
add() { "$PUBLISH" stage add "$IMAGES/$1/metadata.tar.gz" "$IMAGES/$1/rootfs.squashfs" "$IMAGES/$1/disk.qcow2"; }
add 0; "$PUBLISH" promote -m one
add 1; "$PUBLISH" promote -m two
"$PUBLISH" stage remove os0:1:default:amd64; add 2; "$PUBLISH" promote -m three
`

const change = `
add 3; "$PUBLISH" stage remove os1:1:default:amd64
`

// expired is history with a window that is over.
const expired = `
"$PUBLISH" init --switch "$MODE" .
printf 'switch: %s\ngrace: 1s\n' "$MODE" > publish.yaml
add() { "$PUBLISH" stage add "$IMAGES/$1/metadata.tar.gz" "$IMAGES/$1/rootfs.squashfs" "$IMAGES/$1/disk.qcow2"; }
add 0; "$PUBLISH" promote
add 1; "$PUBLISH" stage remove os0:1:default:amd64; "$PUBLISH" promote
add 2; "$PUBLISH" stage remove os1:1:default:amd64; "$PUBLISH" promote
sleep 2
`

var scenarios = []scenario{
	{name: "first-promote", verb: []string{"promote", "-m", "first"}, setup: `
"$PUBLISH" init --switch "$MODE" .
"$PUBLISH" stage add "$IMAGES/0/metadata.tar.gz" "$IMAGES/0/rootfs.squashfs" "$IMAGES/0/disk.qcow2"
`},
	{name: "promote", setup: history + change, verb: []string{"promote", "-m", "four"}},
	{name: "promote-unchanged", setup: history, verb: []string{"promote"}},
	{name: "promote-with-gc", setup: expired + "add 3\n", verb: []string{"promote"}, dropsCarried: true},
	{name: "revert", setup: history, verb: []string{"revert", "-m", "back"}},
	{name: "revert-to-first", setup: history, verb: []string{"revert", "1"}},
	{name: "gc", setup: expired, verb: []string{"gc"}, dropsCarried: true},
	{name: "recover-before-switch", setup: history + change, wreck: []string{"promote"}, verb: []string{"recover"}},
	{name: "recover-after-switch", setup: history + change, wreck: []string{"promote"}, after: true, verb: []string{"recover"}},
	{name: "recover-revert", setup: history, wreck: []string{"revert"}, after: true, verb: []string{"recover"}},
	{name: "stage-add", setup: history, verb: []string{"stage", "add", "$IMAGES/3/metadata.tar.gz", "$IMAGES/3/rootfs.squashfs", "$IMAGES/3/disk.qcow2"}},
	{name: "stage-remove", setup: history, verb: []string{"stage", "remove", "os1:1:default:amd64"}, removes: true},
	{name: "prune", setup: history + `
# without a window the files of image 0, which was removed, go at once
printf 'switch: %s\ngrace: 0s\nretention: [{match: "os1:*", keep_within: 1d, min_versions: 0}]\n' "$MODE" > publish.yaml
`, verb: []string{"prune"}},
	{name: "stage-reset", setup: history + change, verb: []string{"stage", "reset"}},
}
