//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/publish/scripts/crash/check"
)

// scenario is a state of a repository and a command to break in it.
type scenario struct {
	name  string
	setup string   // shell, run in the empty directory of the repository
	fresh string   // shell, run in each copy: for what does not survive cp -a, such as ages by ctime
	verb  []string // arguments of publish; see args

	// bucket: production is in an object store, s3://images/pub.
	bucket bool

	// unites: recover may unite staging with production, where the command that was
	// killed is about to make it equal to that. Nothing of either is lost.
	unites bool

	// wreck, when it is set, is a command that is killed just before
	// (after: just after) its switch, on top of setup.
	wreck []string
	after bool

	// dropsCarried: the command may delete what no index names any more.
	dropsCarried bool

	// revokes are patterns below $IMAGES: of these files no copy is left
	// when the command is through, and each is there before.
	revokes []string

	// again is the exit code of a second run that finds the work done; 0
	// where it succeeds.
	again int

	// adopts: production is a tree of others at first, and there need not be a
	// repository. If the command was broken before its switch it is run again,
	// and nothing else mends what it left.
	adopts bool

	// finish are arguments of publish that do what is left of the command's work
	// where a second run ends with the code again.
	finish []string

	// clients is shell that succeeds with whatever is in production, also before anything is
	// mended.
	clients string

	// due is shell that makes due what the command left in a queue, for a time or
	// because it failed: then the command has done its work although it is not done.
	due string

	// probe is shell that succeeds once the command is through.
	probe string
}

// modes are those of a scenario, of all that are wanted.
func (s *scenario) modes(all []string) []string {
	if s.bucket {
		return []string{"bucket"} // it has no switch of its own
	}
	return all
}

// args are the verb's, with $MODE, $IMAGES, $CONTAINER1, the fingerprint of the container
// of image 1, and $JOB, the job that a repository has, put in.
func (s *scenario) args(images, mode, repo string) []string {
	args := s.verb
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = os.Expand(arg, func(name string) string {
			switch name {
			case "MODE":
				return mode
			case "IMAGES":
				return images
			case "CONTAINER1":
				return fingerprint(images, "1")
			case "JOB":
				found, err := filepath.Glob(filepath.Join(repo, ".publish/mirror/queue/*/*.json"))
				if err == nil && len(found) > 0 {
					return strings.TrimSuffix(filepath.Base(found[0]), ".json")
				}
			}
			return ""
		})
	}
	return out
}

// revoked are the contents of the files that the scenario revokes.
func (s *scenario) revoked(images string) (map[check.File]bool, error) {
	out := map[check.File]bool{}
	for _, pattern := range s.revokes {
		names, err := filepath.Glob(filepath.Join(images, pattern))
		if err == nil && len(names) == 0 {
			err = fmt.Errorf("%s: matches no image", pattern)
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			f, err := check.Content(name)
			if err != nil {
				return nil, err
			}
			out[f] = true
		}
	}
	return out, nil
}

const add = `
add() { "$PUBLISH" stage add "$IMAGES/$1/metadata.tar.gz" "$IMAGES/$1/rootfs.squashfs" "$IMAGES/$1/disk.qcow2"; }
`

// history makes three generations: image 0, then 1 as well, then 0 away, so
// that it is carried.
const history = add + `
"$PUBLISH" init --switch "$MODE" .
add 0; "$PUBLISH" promote -m one
add 1; "$PUBLISH" promote -m two
"$PUBLISH" stage remove os0:1:default:amd64; add 2; "$PUBLISH" promote -m three
`

const change = `
add 3; "$PUBLISH" stage remove os1:1:default:amd64
`

// expired is history with a window that is over.
const expired = add + `
"$PUBLISH" init --switch "$MODE" .
printf 'switch: %s\ngrace: 1s\n' "$MODE" > publish.yaml
add 0; "$PUBLISH" promote
add 1; "$PUBLISH" stage remove os0:1:default:amd64; "$PUBLISH" promote
add 2; "$PUBLISH" stage remove os1:1:default:amd64; "$PUBLISH" promote
sleep 2
`

// spareShares is a probe: whatever the spare has is production's, as the same file.
const spareShares = `
for f in $(find generations/.spare -type f 2>/dev/null); do test "$f" -ef "production/${f#generations/.spare/}"; done
`

// stale is a staging tree of which a prune takes image 1, and the orphans: the
// files of image 0, which was removed, and one that no index ever named.
// Their grace ends at once; that of what production serves does not.
const stale = history + `
printf 'switch: %s\norphan_grace: 1ns\n' "$MODE" > publish.yaml
echo 'retention: [{match: "os1:*", keep_within: 1d, min_versions: 0}]' >> publish.yaml
cp "$IMAGES/3/rootfs.squashfs" staging/images/orphan.squashfs
`

const pruned = `
! grep -q os1: staging/streams/v1/images.json
test ! -e staging/images/orphan.squashfs
`

// kept has the generations 1 to 5, with windows that are over, of which gc
// keeps the last before production and the one that is pinned.
const kept = add + `
"$PUBLISH" init --switch "$MODE" .
configure() { printf 'switch: %s\ngrace: 1s\ngenerations: {keep: %s}\n' "$MODE" "$1" > publish.yaml; }
configure 9
add 0; "$PUBLISH" promote; "$PUBLISH" pin 1 -m 'for the audit'
add 1; "$PUBLISH" stage remove os0:1:default:amd64; "$PUBLISH" promote
add 2; "$PUBLISH" promote
add 3; "$PUBLISH" promote
"$PUBLISH" stage remove os2:1:default:amd64; "$PUBLISH" promote
sleep 2
configure 1
`

// spared has the generations 3 and 4, and the second as the spare, with image 0,
// which is all that it has in common with the fourth.
const spared = add + `
"$PUBLISH" init --switch "$MODE" .
configure() { printf 'switch: %s\ngrace: 1s\ngenerations: {keep: %s}\n' "$MODE" "$1" > publish.yaml; }
configure 9
add 0; "$PUBLISH" promote
add 1; "$PUBLISH" promote
add 2; "$PUBLISH" promote
"$PUBLISH" stage remove os1:1:default:amd64; "$PUBLISH" promote
sleep 2
configure 1
"$PUBLISH" gc
test "$(ls generations/.spare/images | wc -l)" = 3
`

// leaked has image 0 in the generations 1 and 2, of which one is pinned,
// carried in 3, in trash, and in staging, there also by another name.
const leaked = history + `
"$PUBLISH" pin 1 -m 'for the audit'
add 0; "$PUBLISH" stage reset
add 0; cp "$IMAGES/0/rootfs.squashfs" staging/images/other.squashfs
`

// led is a repository that follows the one beside it, which is ahead of it by two promotes.
const led = `
lead() { "$PUBLISH" --repo ../lead "$@"; }
add() { lead stage add "$IMAGES/$1/metadata.tar.gz" "$IMAGES/$1/rootfs.squashfs" "$IMAGES/$1/disk.qcow2"; }
"$PUBLISH" init --switch "$MODE" ../lead
printf 'switch: %s\ntargets: {here: {to: "%s"}}\n' "$MODE" "$PWD" > ../lead/publish.yaml
add 0; lead promote -m one
add 1; lead promote -m two
lead stage remove os0:1:default:amd64; add 2; lead promote -m three --no-sync
add 3; lead promote -m four --no-sync
`

// followed is a probe: the repository has what leads it, and only that.
const followed = `
"$PUBLISH" verify; diff -r -x .publish-tree ../lead/production/streams production/streams
test "$(cat production/.publish-generation)" = "$(cat ../lead/production/.publish-generation)"
test ! -e .publish/incoming; "$PUBLISH" --repo ../lead status --check
`

// theirs is a tree beside the repository that others made, with image 3, an older kind of image 2, a
// page, and what lies beside the index.
const theirs = `
rm -rf ../theirs; "$PUBLISH" init ../other
"$PUBLISH" --repo ../other stage add "$IMAGES/3/metadata.tar.gz" "$IMAGES/3/rootfs.squashfs" "$IMAGES/3/disk.qcow2"
"$PUBLISH" --repo ../other stage add "$IMAGES/2/metadata.tar.gz" "$IMAGES/2/rootfs.squashfs"
mv ../other/staging ../theirs; rm -r ../other
echo page > ../theirs/page.html
gzip -k ../theirs/streams/v1/index.json
(cd ../theirs && sha256sum page.html > SHA256SUMS)
`

// buried has image 0 in trash and in generation 1, which is pinned, and
// neither in production nor in staging.
const buried = add + `
"$PUBLISH" init --switch "$MODE" .
printf 'switch: %s\ngrace: 1s\n' "$MODE" > publish.yaml
add 0; add 1; "$PUBLISH" promote; "$PUBLISH" pin 1 -m 'for the audit'
add 2; "$PUBLISH" stage remove os0:1:default:amd64; "$PUBLISH" promote
sleep 1.1; "$PUBLISH" gc
add 0; "$PUBLISH" stage reset
`

// lengthy is history whose file a line of longMessage makes so long that it is closed.
const lengthy = history + `
text=$(head -c 125000 /dev/zero | tr '\0' x)
for i in 1 2 3 4 5 6 7 8; do "$PUBLISH" hold -m "$i $text"; "$PUBLISH" unhold; done
test ! -e .publish/history.000001
`

var longMessage = strings.Repeat("x", 60_000)

// closed checks that the history is closed, by the next line at the latest, and
// every line is there once: those of lengthy, and two more holds.
const closed = `
"$PUBLISH" hold -m last; "$PUBLISH" unhold; "$PUBLISH" verify
test -s .publish/history.000001; test "$(wc -c < .publish/history)" -lt 200000
"$PUBLISH" history --json > ../lines; test -z "$(sort ../lines | uniq -d)"
count() { grep -c "\"kind\":\"$1\"" ../lines; }
test "$(count hold)" = "$(count unhold)"; test "$(count promote)" = "${promotes:-3}"; test "$(count hold)" = 10
`

// served is a directory with images and a page that clients read.
const served = add + `
rm -rf ../other; "$PUBLISH" init ../other
export PUBLISH_REPO=../other; add 0; add 1; unset PUBLISH_REPO
cp -a ../other/staging production; rm -r ../other
echo page > production/page.html; echo unnamed > production/images/unnamed.squashfs
`

// layouts has an OCI tree with three generations: the tag v1 moves from image 0 to 1,
// and then the repository other goes, whose tag stands for image 2.
const layouts = `
add() { "$PUBLISH" stage add --name "$1" "$IMAGES/oci-$2" >/dev/null; }
"$PUBLISH" init --format oci --switch "$MODE" .
printf 'format: oci\nswitch: %s\ngrace: %s\n' "$MODE" "${GRACE:-2h}" > publish.yaml
add acme/app:v1 0; add acme/app:base 3; add acme/other:v1 2; "$PUBLISH" promote
add acme/app:v1 1; "$PUBLISH" promote
"$PUBLISH" stage remove docker.io/acme/other:v1; "$PUBLISH" promote
`

// upstream is layouts with a job for an image of the registry at $HUB.
const upstream = layouts + `
printf 'mirror: {registries: {hub.example.com: {endpoints: [%s]}}, limits: {free: 0}}\n' "$HUB" >> publish.yaml
"$PUBLISH" mirror add hub.example.com/acme/app:v1
`

// streams is history with a job for image 3 of a simplestreams server at $HUB.
const streams = history + `
if ! test -e "$IMAGES/tree"; then
	mkdir ../up; (cd ../up; "$PUBLISH" init .; add 3; "$PUBLISH" promote); cp -rL ../up/production "$IMAGES/tree"
fi
printf 'mirror: {limits: {free: 0}}\n' >> publish.yaml
"$PUBLISH" mirror add "$HUB/files/tree#*"
`

// runOnce waits a second at most: longer than that, a full disk stays full.
var runOnce = []string{"mirror", "run", "--once", "--patience", "1s"}

// retried makes all jobs due.
const retried = `
"$PUBLISH" mirror list --state waiting --state failed --json | sed 's/.*"id":"\([a-z0-9]*\)".*/\1/' |
while read -r id; do "$PUBLISH" mirror retry "$id"; done
`

// mirrored is a probe: the image is staged, once, nothing of it is left outside, and it can
// be published.
const mirrored = once + `
"$PUBLISH" promote; "$PUBLISH" mirror address hub.example.com/acme/app:v1
grep -q 'canonical: hub.example.com/acme/app:v1' mirror.lock.yaml
`

// united is that of a tree.
const united = once + `
grep -q os3 staging/streams/v1/images.json; "$PUBLISH" promote; "$PUBLISH" mirror address "$HUB/files/tree#*"
test "$("$PUBLISH" mirror list --state published --json | wc -l)" = 1; grep -q os3 mirror.lock.yaml
`

// once says that one job was staged, and that nothing is left of others.
const once = `
test "$("$PUBLISH" mirror list --json | grep -c '"state":"staged"')" = 1
test "$(ls .publish/mirror/queue/done)" = "$(ls .publish/mirror/queue/done/*.json | xargs -n 1 basename)"
test -z "$(ls .publish/mirror/queue/pending .publish/mirror/queue/running .publish/mirror/queue/failed | grep json)"
test -z "$(find .publish/mirror/content -type f)"
`

// holding is a probe: production holds what clients may still ask for.
const holding = `
grep -q held-until production/docker.io/acme/app/index.json
`

// overdue is layouts with windows that are over.
const overdue = `GRACE=1s` + layouts + `
sleep 2
`

// shorter is a probe: nothing is held any more, and no carried layout is left.
const shorter = `
! grep -q held-until production/docker.io/acme/app/index.json; test ! -e production/docker.io/acme/other/index.json
`

// tags is layouts with a rule that takes the tag v1 out.
const tags = layouts + `
echo 'tags: [{repository: "**", tag: v1, protect: [v2]}]' >> publish.yaml
`

// undone is a probe: whatever the prunes took out of staging comes back.
const undone = `
for id in $(ls .publish/undo); do "$PUBLISH" prune --undo "$id"; done; "$PUBLISH" diff --exit-code
`

var scenarios = []scenario{
	{name: "first-promote", verb: []string{"promote", "-m", "first"}, setup: add + `
"$PUBLISH" init --switch "$MODE" .
add 0
`},
	{name: "promote", setup: history + change, verb: []string{"promote", "-m", "four"}},
	{name: "promote-unchanged", setup: history, verb: []string{"promote"}},
	{name: "promote-with-gc", setup: expired + "add 3\n", verb: []string{"promote"}, dropsCarried: true},
	{name: "promote-with-prune", setup: stale + "add 3; echo 'promote: {prune: true}' >> publish.yaml\n",
		verb: []string{"promote"}, probe: pruned},
	{name: "promote-with-spare", setup: spared + "configure 0; add 3\n", verb: []string{"promote"}, dropsCarried: true,
		probe: spareShares},
	{name: "promote-layouts", setup: layouts + "add acme/app:v1 2\n", verb: []string{"promote"}, probe: holding},
	{name: "revert-layouts", setup: layouts, verb: []string{"revert", "1"}, probe: holding},
	{name: "revoke-layouts", setup: layouts, verb: []string{"revoke", "docker.io/acme/app:v1", "-m", "leaked"},
		revokes: []string{"oci-0/blobs/sha256/*", "oci-1/blobs/sha256/*"}},
	{name: "gc-layouts", setup: overdue, verb: []string{"gc"}, dropsCarried: true, probe: shorter},
	{name: "revert", setup: history, verb: []string{"revert", "-m", "back"}},
	{name: "revert-to-first", setup: history, verb: []string{"revert", "1"}},
	{name: "revert-with-spare", setup: spared, verb: []string{"revert", "3"}, dropsCarried: true, again: 5},
	{name: "gc-with-spare", setup: spared + "configure 0\n", verb: []string{"gc"}, dropsCarried: true,
		probe: spareShares},
	{name: "gc", setup: expired, verb: []string{"gc"}, dropsCarried: true},
	{name: "gc-kept", setup: kept, verb: []string{"gc"}, dropsCarried: true, probe: `
test "$(echo generations/*)" = "$(if [ "$MODE" = rename ]; then echo generations/000001 generations/000004; else
    echo generations/000001 generations/000004 generations/000005; fi)"
"$PUBLISH" revert 1
`},
	{name: "sync", fresh: led, verb: []string{"--repo", "../lead", "sync"}, probe: followed},
	{name: "sync-revoke", fresh: led + "lead revoke os1:1:default:amd64 -m leaked --no-sync\n",
		verb: []string{"--repo", "../lead", "sync"}, revokes: []string{"1/*"}, probe: followed},
	{name: "pin", setup: expired, verb: []string{"pin", "2", "-m", "for the audit"}, dropsCarried: true, again: 6,
		probe: `"$PUBLISH" gc; "$PUBLISH" revert 2`},
	{name: "unpin", setup: expired + `"$PUBLISH" pin 2 -m 'for the audit'`, verb: []string{"unpin", "2"},
		dropsCarried: true,
		probe:        `"$PUBLISH" gc; test ! -e generations/000002`},
	{name: "hold", setup: history + change, verb: []string{"hold", "-m", "not now"}, again: 6,
		probe: `! "$PUBLISH" promote`},
	{name: "unhold", setup: history + change + `"$PUBLISH" hold -m 'not now'`, verb: []string{"unhold"},
		probe: `"$PUBLISH" promote`},
	{name: "adopt", setup: served, verb: []string{"init", "--switch", "$MODE", "--adopt", "production", "."},
		adopts: true, again: 2, finish: []string{"stage", "reset"}, probe: add + `
test -e staging/page.html; test -e production/images/unnamed.squashfs; test -e production.before-publish/page.html
add 2; "$PUBLISH" promote; "$PUBLISH" revert
`},
	{name: "hold-closes", setup: lengthy, verb: []string{"hold", "-m", longMessage}, again: 6,
		probe: `"$PUBLISH" unhold` + closed},
	// A command that was killed while it closed the file has given it its second name.
	{name: "hold-closes-again", setup: lengthy + `ln .publish/history .publish/history.000001`,
		verb: []string{"hold", "-m", longMessage}, again: 6, probe: `"$PUBLISH" unhold` + closed},
	{name: "promote-closes", setup: lengthy + change, verb: []string{"promote", "-m", longMessage},
		probe: `promotes=4; "$PUBLISH" hold -m more; "$PUBLISH" unhold` + closed},
	// The file behind the closed one has lost its checkpoint.
	{name: "recover-closed", setup: lengthy + `"$PUBLISH" hold -m "$text"; "$PUBLISH" unhold
test -e .publish/history.000001; sed -i 1d .publish/history`, verb: []string{"recover"},
		probe: closed},
	{name: "recover-before-switch", setup: history + change, wreck: []string{"promote"}, verb: []string{"recover"}},
	{name: "recover-after-switch", setup: history + change, wreck: []string{"promote"}, after: true,
		verb: []string{"recover"}},
	{name: "recover-revert", setup: history, wreck: []string{"revert"}, after: true, verb: []string{"recover"}},
	// The first line of the history is lost, and the manifest of generation 2.
	{name: "recover-lines", setup: history + `sed -i 1d .publish/history; rm .publish/manifests/000002`,
		verb: []string{"recover"},
		probe: `test "$("$PUBLISH" history --json | grep -c '"kind":"promote"')" = 3
"$PUBLISH" verify 2; "$PUBLISH" revert`},
	{name: "recover-parts", setup: history + `rm -r .publish/trash .publish/*lock .publish/hashes`,
		verb:  []string{"recover"},
		probe: `"$PUBLISH" status --check; "$PUBLISH" revert`},
	{name: "recover-clock", setup: history + `mkdir .publish/trash/20990101T000000.000000000Z`,
		verb:  []string{"recover", "--clock-is-right"},
		probe: `"$PUBLISH" status --check; test ! -e .publish/trash/2099*`},
	{name: "stage-add", setup: history, verb: []string{"stage", "add", "$IMAGES/3/metadata.tar.gz",
		"$IMAGES/3/rootfs.squashfs", "$IMAGES/3/disk.qcow2"}},
	{name: "stage-add-layouts", setup: layouts, verb: []string{"stage", "add", "--name", "acme/app:v1", "$IMAGES/oci-2"},
		probe: `"$PUBLISH" stage list 'docker.io/acme/app:v1' --json | grep -q '"moved_from":"sha256'`},
	{name: "stage-add-twins", setup: layouts, verb: []string{"stage", "add", "--name", "acme/other:v1", "$IMAGES/oci-0"},
		probe: `"$PUBLISH" resolve --in staging acme/other:v1`},
	{name: "promote-twins", setup: layouts + "add acme/other:v1 0; add acme/third:v1 2; add acme/last:v1 2\n",
		verb: []string{"promote"}, probe: holding},
	{name: "stage-tag", setup: layouts, verb: []string{"stage", "tag", "acme/app:v1", "stable", "v1.0"}, probe: `
test "$("$PUBLISH" resolve --in staging acme/app:stable)" = "$("$PUBLISH" resolve --in staging acme/app:v1)"
`},
	{name: "mirror-add", setup: layouts, verb: []string{"mirror", "add", "hub.example.com/acme/app:v1"}, probe: `
"$PUBLISH" mirror list --json > list; test "$(wc -l < list)" = 1; grep -q '"state":"pending"' list; rm list
`},
	{name: "mirror-run", setup: upstream, verb: runOnce, due: retried, probe: mirrored},
	{name: "mirror-cancel", setup: upstream, verb: []string{"mirror", "cancel", "$JOB"}, again: 6, probe: `
test "$("$PUBLISH" mirror list --json | grep -c '"state":"cancelled"')" = 1
test "$("$PUBLISH" mirror list --json | wc -l)" = 1; "$PUBLISH" mirror run --once; test ! -e mirror.lock.yaml
`},
	{name: "mirror-run-streams", setup: streams, verb: runOnce, due: retried, probe: united},
	{name: "stage-add-move", setup: history, fresh: `rm -rf ../built; mkdir ../built; cp "$IMAGES"/3/* ../built`,
		verb: []string{"stage", "add", "--move", "../built/metadata.tar.gz", "../built/rootfs.squashfs",
			"../built/disk.qcow2"},
		again: 5, probe: `grep -q os3: staging/streams/v1/images.json`},
	{name: "stage-import", setup: history, fresh: theirs, verb: []string{"stage", "import", "../theirs"},
		probe: `grep -q os3: staging/streams/v1/images.json; test -e staging/page.html`},
	{name: "export", setup: history, fresh: `rm -rf ../out; mkdir ../out`,
		verb: []string{"export", "--generation", "2", "-o", "../out/bundle.tar"},
		probe: `test "$(ls -A ../out)" = bundle.tar; "$PUBLISH" stage import ../out/bundle.tar
"$PUBLISH" diff 2 staging --exit-code`},
	{name: "stage-import-bundle", setup: history + change, fresh: `"$PUBLISH" export --generation 2 -o ../bundle.tar`,
		verb:  []string{"stage", "import", "../bundle.tar"},
		probe: `"$PUBLISH" diff 2 staging --exit-code; find .publish/trash -name '*.squashfs' | grep -q .`},
	{name: "stage-import-merge", setup: history + change,
		fresh: `"$PUBLISH" export --generation 1 -o ../bundle.tar; "$PUBLISH" stage reset; "$PUBLISH" prune`,
		verb:  []string{"stage", "import", "--merge", "../bundle.tar"},
		probe: `grep -q os0 staging/streams/v1/images.json; grep -q os2 staging/streams/v1/images.json`},
	{name: "stage-remove", setup: history, verb: []string{"stage", "remove", "os1:1:default:amd64"}, again: 5},
	{name: "stage-reset", setup: history + change, verb: []string{"stage", "reset"}},
	{name: "prune", setup: stale, verb: []string{"prune"}, probe: pruned},
	{name: "prune-plan", setup: stale, verb: []string{"prune", "--plan", "plan.json"},
		probe: `"$PUBLISH" prune --apply plan.json` + pruned},
	{name: "prune-tags", setup: tags, verb: []string{"prune"}, probe: `
! grep -q '"v1"' staging/docker.io/acme/app/index.json; grep -q '"base"' staging/docker.io/acme/app/index.json
` + undone},
	{name: "prune-undo", setup: tags + `"$PUBLISH" prune; mv .publish/undo/* .publish/undo/0123456789ab`,
		verb: []string{"prune", "--undo", "0123456789ab"}, probe: `"$PUBLISH" diff --exit-code`},
	// The next prune takes the orphans that an interrupted plan left.
	{name: "prune-apply", setup: stale, fresh: `"$PUBLISH" prune --plan plan.json`, verb: []string{"prune", "--apply",
		"plan.json"}, again: 6,
		probe: `"$PUBLISH" prune` + pruned},
	{name: "revoke", setup: leaked, verb: []string{"revoke", "os1:1:default:amd64/20260102_00:00", "-m", "leaked"},
		revokes: []string{"1/*"}, probe: `"$PUBLISH" revert 2`},
	{name: "revoke-everywhere", setup: leaked, verb: []string{"revoke", "os0:1:default:amd64", "-m", "leaked"},
		revokes: []string{"0/*"}, probe: `"$PUBLISH" revert 2`},
	// The metadata stay: the virtual machine needs them.
	{name: "revoke-fingerprint", setup: history, verb: []string{"revoke", "$CONTAINER1", "-m", "leaked"},
		revokes: []string{"1/rootfs.squashfs"}, probe: `"$PUBLISH" revert 2`},
	{name: "revoke-with-gc", setup: expired + `add 3; "$PUBLISH" promote; sleep 2`,
		verb:    []string{"revoke", "os2:1:default:amd64", "-m", "leaked"},
		revokes: []string{"2/*"}, dropsCarried: true},
	{name: "revoke-with-spare", setup: spared, verb: []string{"revoke", "os0:1:default:amd64", "-m", "leaked"},
		revokes: []string{"0/*"}, dropsCarried: true},
	{name: "revoke-kept", setup: buried, verb: []string{"revoke", "os0:1:default:amd64", "-m", "leaked"},
		revokes: []string{"0/*"}, probe: `"$PUBLISH" revert 1`},
	{name: "revoke-staged", setup: history + "add 3\n", verb: []string{"revoke", "os3:1:default:amd64", "-m", "leaked"},
		revokes: []string{"3/*"}, probe: `! grep -q os3: staging/streams/v1/images.json; "$PUBLISH" promote`},
	{name: "recover-before-revoke", setup: leaked, wreck: []string{"revoke", "os0:1:default:amd64", "-m", "leaked"},
		verb: []string{"recover"}},
	{name: "recover-revoke", setup: leaked, wreck: []string{"revoke", "os0:1:default:amd64", "-m", "leaked"},
		after: true, verb: []string{"recover"},
		revokes: []string{"0/*"}, probe: `"$PUBLISH" revert 2`},
}
