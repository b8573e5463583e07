package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/OpenPeeDeeP/depguard/v2"
	"golang.org/x/tools/go/analysis"
)

const ours = "example.com/publish/"

// cases are imports and the rule that must refuse each; rule "" means that
// none may.
var cases = []struct{ file, imports, rule string }{
	{"publish/promote.go", "github.com/urfave/cli/v2", "cli-only-in-cmd"},
	{"stage/stage.go", "github.com/urfave/cli/v2", "cli-only-in-cmd"},
	{"scripts/x/main.go", "github.com/urfave/cli", "cli-only-in-cmd"},
	{"retention/x_test.go", "github.com/urfave/cli/v2", "cli-only-in-cmd"},
	{"cmd/publish/main.go", "github.com/urfave/cli/v2", ""},

	{"publish/commit.go", "github.com/google/renameio/v2", "renameio-only-in-durable"},
	{"stage/tree/clone.go", "github.com/google/renameio/v2", "renameio-only-in-durable"},
	{"cmd/publish/init.go", "github.com/google/renameio", "renameio-only-in-durable"},
	{"stage/durable/durable.go", "github.com/google/renameio/v2", ""},

	{"publish/publish.go", "github.com/gofrs/flock", "flock-only-in-lock"},
	{"stage/add.go", "github.com/gofrs/flock", "flock-only-in-lock"},
	{"stage/lock/lock.go", "github.com/gofrs/flock", ""},

	{"stage/add.go", ours + "publish", "stage-below-publish"},
	{"stage/add_test.go", ours + "publish", "stage-below-publish"},
	{"stage/add.go", ours + "cmd/publish", "stage-below-publish"},
	{"stage/add.go", ours + "retention", "stage-below-publish"},
	{"stage/simplestreams/index.go", ours + "publish", "stage-below-publish"},
	{"stage/add.go", ours + "stage/simplestreams", "stage-imports-no-format"},
	{"stage/add.go", ours + "stage/oci", "stage-imports-no-format"},
	{"stage/snapshot.go", ours + "stage/plain", "stage-imports-no-format"},
	{"stage/add_test.go", ours + "stage/simplestreams", ""},
	{"stage/add.go", ours + "stage/tree", ""},

	{"publish/promote.go", ours + "cmd/publish", "publish-below-cmd"},
	{"publish/promote_test.go", ours + "cmd/publish", "publish-below-cmd"},
	{"cmd/publish/promote.go", ours + "publish", ""},

	{"publish/promote.go", ours + "stage/simplestreams", "publish-knows-no-format"},
	{"publish/promote.go", ours + "stage/oci", "publish-knows-no-format"},
	{"publish/promote.go", ours + "stage/plain", "publish-knows-no-format"},
	{"publish/promote.go", ours + "stage/catalog", ""},
	{"publish/promote.go", ours + "stage", ""},
	{"publish/promote.go", ours + "retention", ""},
	{"publish/promote_test.go", ours + "stage/simplestreams", ""},
	{"cmd/publish/format.go", ours + "stage/simplestreams", ""},

	{"publish/timetable/rule.go", ours + "publish/fault", "timetable-is-a-leaf"},
	{"publish/timetable/rule.go", "github.com/adhocore/gronx", ""},
	{"publish/mirror/run.go", "github.com/adhocore/gronx", "gronx-only-in-timetable"},
	{"publish/mirror/run.go", ours + "publish/timetable", ""},
	{"publish/config.go", ours + "publish/timetable", ""},
	{"publish/fault/fault.go", ours + "publish", "fault-is-a-leaf"},
	{"publish/fault/fault.go", ours + "stage", "fault-is-a-leaf"},
	{"publish/promote.go", ours + "publish/fault", ""},
	{"publish/generation/draft.go", ours + "publish", "generation-knows-no-repository"},
	{"publish/generation/draft.go", ours + "publish/site", "generation-knows-no-repository"},
	{"publish/generation/draft_test.go", ours + "publish/journal", "generation-knows-no-repository"},
	{"publish/generation/draft.go", ours + "retention", "generation-knows-no-repository"},
	{"publish/generation/draft.go", ours + "publish/fault", ""},
	{"publish/generation/draft.go", ours + "stage", ""},
	{"publish/generation/draft_test.go", ours + "publish/generation", ""},
	{"publish/promote.go", ours + "publish/generation", ""},
	{"publish/tombstone/selection.go", "os", "tombstone-is-values"},
	{"publish/tombstone/selection.go", ours + "publish", "tombstone-is-values"},
	{"publish/tombstone/selection.go", ours + "stage", "tombstone-is-values"},
	{"publish/tombstone/selection.go", ours + "stage/catalog", ""},
	{"publish/tombstone/selection.go", ours + "publish/generation", ""},

	{"publish/metrics/metrics.go", ours + "stage", "metrics-are-values"},
	{"publish/metrics/metrics.go", ours + "publish", ""},
	{"publish/serve/view.go", ours + "stage/lock", "serve-takes-no-lock"},
	{"publish/serve/view.go", ours + "publish/journal", "serve-takes-no-lock"},
	{"publish/serve/view.go", ours + "stage", "serve-takes-no-lock"},
	{"publish/serve/view.go", ours + "publish", ""},
	{"publish/serve/page_queue.go", ours + "publish/mirror", ""},
	{"publish/serve/view.go", ours + "publish/generation", ""},
	{"publish/serve/view.go", "net/http", ""},
	{"publish/repo.go", "net/http", "http-only-in-serve"},
	{"stage/oci/read.go", "net/http", "http-only-in-serve"},

	{"publish/fanout/send.go", ours + "publish", ""},
	{"publish/fanout/serve.go", ours + "publish/generation", ""},
	{"publish/fanout/serve.go", ours + "publish/journal", "fanout-asks-through-publish"},
	{"publish/fanout/serve.go", ours + "publish/site", "fanout-asks-through-publish"},
	{"publish/fanout/serve.go", ours + "stage", "fanout-asks-through-publish"},
	{"publish/fanout/target.go", "net/http", "fanout-asks-through-publish"},
	{"publish/fanout/world_test.go", ours + "stage/plain", ""},

	{"publish/mirror/queue.go", ours + "stage", ""},
	{"publish/mirror/queue.go", ours + "stage/tree", "mirror-knows-no-format"},
	{"publish/mirror/queue.go", ours + "stage/oci", "mirror-knows-no-format"},
	{"publish/mirror/queue.go", ours + "publish/journal", "mirror-knows-no-format"},
	{"publish/mirror/queue.go", "net/http", "mirror-knows-no-format"},
	{"publish/mirror/queue.go", ours + "stage/lock", ""},
	{"publish/mirror/queue.go", ours + "publish/fault", ""},
	{"publish/mirror/queue.go", ours + "publish", ""},
	{"publish/mirror/locked.go", ours + "publish/mirror/pins", ""},
	{"publish/mirror/pins/file.go", ours + "publish/mirror", "pins-are-lines-and-values"},
	{"publish/mirror/pins/file.go", ours + "publish", "pins-are-lines-and-values"},
	{"publish/mirror/pins/file.go", ours + "stage", "pins-are-lines-and-values"},
	{"publish/mirror/pins/file.go", ours + "stage/lock", ""},
	{"publish/mirror/pins/file.go", ours + "publish/fault", ""},

	{"publish/mirror/outbox.go", ours + "publish/notify", "mirror-knows-no-format"},
	{"publish/notify/webhook.go", "net/http", ""},
	{"publish/notify/file.go", ours + "stage/durable", ""},
	{"publish/notify/file.go", ours + "publish/mirror", "notify-knows-no-job"},
	{"publish/notify/file.go", ours + "publish", "notify-knows-no-job"},

	{"publish/site/symlink.go", ours + "publish", "site-knows-no-repository"},
	{"publish/site/symlink.go", ours + "stage", "site-knows-no-repository"},
	{"publish/site/site_test.go", ours + "publish", "site-knows-no-repository"},
	{"publish/site/symlink.go", ours + "stage/durable", ""},
	{"publish/site/symlink.go", ours + "publish/generation", ""},
	{"publish/promote.go", ours + "publish/site", ""},
	{"publish/site/bucket/site.go", "github.com/aws/aws-sdk-go-v2/service/s3", "sdk-only-in-store"},
	{"cmd/publish/sites.go", "github.com/aws/smithy-go", "sdk-only-in-store"},
	{"publish/site/bucket/store/read.go", "github.com/aws/aws-sdk-go-v2/service/s3", ""},
	{"publish/site/bucket/site.go", ours + "publish/site/bucket/store", "bucket-knows-no-cloud"},
	{"publish/repo.go", ours + "publish/site/bucket/store", "store-only-in-cmd"},
	{"publish/site/bucket/site_test.go", ours + "publish/site/bucket/store", ""},
	{"cmd/publish/sites.go", ours + "publish/site/bucket/store", ""},
	{"publish/site/bucket/store/read.go", ours + "publish/site/bucket", ""},
	{"publish/site/bucket/store/read.go", ours + "publish/fault", ""},
	{"publish/site/bucket/store/read.go", ours + "publish", "site-knows-no-repository"},
	{"publish/site/bucket/store/send.go", "net/http", ""},
	{"publish/site/bucket/site.go", "net/http", "http-only-in-serve"},
	{"publish/site/bucket/storetest/proxy.go", "net/http", ""},
	{"scripts/bench/buckets.go", ours + "publish/site/bucket/storetest", ""},
	{"scripts/crash/bucket.go", ours + "publish/site/bucket/storetest", ""},
	{"cmd/publish/sites.go", ours + "publish/site/bucket/buckettest", "stores-of-tests"},
	{"publish/site/bucket/site.go", "github.com/johannesboyne/gofakes3", "stores-of-tests"},
	{"publish/site/bucket/site_test.go", ours + "publish/site/bucket/buckettest", ""},

	{"publish/site/bucket/commit.go", "net/http", "bucket-knows-no-cloud"},
	{"publish/site/bucket/commit.go", "github.com/aws/aws-sdk-go-v2/service/s3", "bucket-knows-no-cloud"},
	{"publish/site/bucket/commit.go", ours + "publish/site/bucket/store", "bucket-knows-no-cloud"},
	{"publish/site/bucket/buckettest/memory.go", ours + "publish/site/bucket/store", "bucket-knows-no-cloud"},
	{"publish/site/bucket/buckettest/memory.go", ours + "publish/site/bucket", ""},
	{"publish/site/bucket/commit_test.go", ours + "publish/site/bucket/buckettest", ""},
	{"publish/site/bucket/commit.go", ours + "publish/generation", ""},

	{"retention/policy.go", "os", "retention-is-pure"},
	{"retention/policy.go", "os/exec", "retention-is-pure"},
	{"retention/policy.go", "io/fs", "retention-is-pure"},
	{"retention/policy.go", "io/ioutil", "retention-is-pure"},
	{"retention/policy.go", "path/filepath", "retention-is-pure"},
	{"retention/policy.go", "net/http", "retention-is-pure"},
	{"retention/policy.go", "syscall", "retention-is-pure"},
	{"retention/policy.go", "golang.org/x/sys/unix", "retention-is-pure"},
	{"retention/policy.go", ours + "stage/catalog", "retention-is-pure"},
	{"retention/policy.go", ours + "publish", "retention-is-pure"},
	{"retention/policy.go", ours + "stage/glob", ""},
	{"retention/policy.go", "time", ""},
	{"retention/policy.go", "path", ""},
	{"retention/policy_test.go", "os", ""},
	{"retention/policy_test.go", ours + "retention", ""},

	{"cmd/publish/earlyheap/earlyheap.go", ours + "stage/durable", "earlyheap-is-early"},
	{"cmd/publish/earlyheap/earlyheap.go", "os", "earlyheap-is-early"},
	{"cmd/publish/earlyheap/earlyheap.go", "syscall", ""},

	{"stage/catalog/catalog.go", ours + "stage/tree", "catalog-is-a-leaf"},
	{"stage/catalog/catalog_test.go", ours + "stage/catalog", ""},
	{"stage/durable/batch.go", ours + "stage/catalog", "durable-is-a-leaf"},
	{"stage/durable/batch_test.go", ours + "stage/durable", ""},
	{"stage/lock/lock.go", ours + "stage/durable", "lock-is-a-leaf"},
	{"stage/lock/lock_test.go", ours + "stage/lock", ""},
	{"stage/unpack/unpack.go", ours + "stage/catalog", "unpack-is-a-leaf"},
	{"stage/glob/glob.go", ours + "stage/catalog", "glob-is-a-leaf"},
	{"stage/lazyregexp/lazyregexp.go", ours + "stage/catalog", "lazyregexp-is-a-leaf"},
	{"stage/sha256x2/sha256x2.go", ours + "stage/tree", "sha256x2-is-a-leaf"},
	{"stage/tree/digest.go", ours + "stage/sha256x2", ""},
	{"stage/catalog/include.go", ours + "stage/glob", ""},
	{"stage/catalog/upload.go", ours + "stage/lazyregexp", ""},

	{"stage/tree/tree.go", ours + "stage/lock", "tree-knows-no-format"},
	{"stage/tree/tree.go", ours + "stage/simplestreams", "tree-knows-no-format"},
	{"stage/tree/tree.go", ours + "stage", "tree-knows-no-format"},
	{"stage/tree/clone.go", ours + "stage/durable", ""},
	{"stage/tree/tree.go", ours + "stage/catalog", ""},

	{"stage/companion/companion.go", ours + "stage/simplestreams", "companion-knows-no-format"},
	{"stage/companion/companion.go", ours + "stage/tree", "companion-knows-no-format"},
	{"stage/companion/companion.go", ours + "stage/catalog", ""},
	{"stage/companion/pack.go", ours + "stage/unpack", ""},

	{"stage/simplestreams/index.go", ours + "stage/durable", "simplestreams-is-bytes-in-values-out"},
	{"stage/simplestreams/index.go", ours + "stage", "simplestreams-is-bytes-in-values-out"},
	{"stage/simplestreams/index.go", ours + "stage/catalog", ""},
	{"stage/simplestreams/archive.go", ours + "stage/unpack", ""},
	{"stage/oci/layout.go", ours + "stage/simplestreams", "oci-is-bytes-in-values-out"},
	{"stage/oci/layout.go", ours + "stage/catalog", ""},
	{"stage/oci/pull.go", ours + "stage/oci/registry", "oci-asks-nobody"},
	{"stage/oci/registry/server.go", ours + "stage", "registry-knows-no-tree"},
	{"stage/oci/registry/server.go", ours + "stage/unpack", "registry-knows-no-tree"},
	{"stage/oci/registry/server.go", ours + "stage/oci", ""},
	{"stage/oci/registry/server.go", ours + "stage/catalog", ""},
	{"stage/oci/registry/server.go", "net/http", ""},
	{"stage/oci/registry/server.go", "oras.land/oras-go/v2/registry/remote/auth", ""},
	{"stage/oci/pull.go", "oras.land/oras-go/v2", "oras-only-in-registry"},
	{"cmd/publish/mirror.go", "oras.land/oras-go/v2", "oras-only-in-registry"},
	{"stage/oci/registry/server.go", ours + "stage/remote", ""},
	{"stage/oci/layout.go", ours + "stage/remote", "oci-is-bytes-in-values-out"},
	{"stage/remote/guard.go", ours + "stage/oci", "remote-knows-no-format"},
	{"stage/remote/guard.go", "net/http", ""},
	{"stage/remote/fault.go", ours + "stage/catalog", ""},
	{"stage/simplestreams/merge.go", ours + "stage/simplestreams/upstream", "simplestreams-asks-nobody"},
	{"stage/simplestreams/upstream/fetch.go", ours + "stage/durable", "upstream-knows-no-tree"},
	{"stage/simplestreams/upstream/fetch.go", ours + "stage/simplestreams", ""},
	{"stage/simplestreams/upstream/fetch.go", ours + "stage/remote", ""},
	{"stage/simplestreams/upstream/fetch.go", "net/http", ""},
	{"stage/simplestreams/upstream/fetch.go", ours + "stage/clearsign", ""},
	{"stage/simplestreams/upstream/fetch.go", "github.com/ProtonMail/go-crypto/openpgp", "openpgp-in-two-places"},
	{"stage/companion/clearsign.go", "github.com/ProtonMail/go-crypto/openpgp", "openpgp-in-two-places"},
	{"stage/clearsign/clearsign.go", "github.com/ProtonMail/go-crypto/openpgp", ""},
	{"publish/sign/openpgp.go", "github.com/ProtonMail/go-crypto/openpgp", ""},
	{"stage/clearsign/clearsign.go", ours + "stage/catalog", "clearsign-is-a-leaf"},
	{"publish/commit.go", "aead.dev/minisign", "minisign-only-in-sign"},
	{"publish/sign/minisign.go", "aead.dev/minisign", ""},
	{"publish/sign/sign.go", ours + "publish", "sign-is-bytes-and-keys"},
	{"publish/sign/sign.go", ours + "publish/generation", "sign-is-bytes-and-keys"},
	{"publish/sign/sign.go", ours + "stage/clearsign", ""},
	{"publish/sign/sign.go", "net/http", "http-only-in-serve"},
	{"publish/sign/remote/remote.go", ours + "publish", "client-has-public-keys-only"},
	{"publish/sign/remote/remote.go", ours + "stage/remote", ""},
	{"publish/sign/remote/remote.go", "net/http", ""},
	{"stage/plain/plain.go", ours + "stage/tree", "plain-is-bytes-in-values-out"},
	{"stage/plain/plain.go", ours + "stage/catalog", ""},

	{"publish/journal/event.go", ours + "publish", "journal-is-lines-and-values"},
	{"publish/journal/event.go", ours + "retention", "journal-is-lines-and-values"},
	{"publish/journal/event.go", ours + "stage/catalog", "journal-is-lines-and-values"},
	{"publish/journal/log.go", ours + "stage/durable", ""},
	{"publish/commit.go", ours + "publish/journal", ""},
}

func TestWallsBite(t *testing.T) {
	top, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join(top, configName))
	if err != nil {
		t.Fatal(err)
	}
	// Names that occur in patterns, and characters that mean something there,
	// must not matter in the path of a checkout.
	for _, where := range []string{"publish", "stage/retention", "cmd/publish", "a{b,c}[d]*"} {
		t.Run(where, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), where)
			if err := os.MkdirAll(root, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, configName), rules, 0o644); err != nil {
				t.Fatal(err)
			}
			settings, err := load(root)
			if err != nil {
				t.Fatal(err)
			}
			analyzer, err := depguard.NewAnalyzer(&settings)
			if err != nil {
				t.Fatal(err)
			}
			bitten := make(map[string]bool)
			for _, c := range cases {
				got := findings(t, analyzer, filepath.Join(root, c.file), c.imports)
				if c.rule == "" && len(got) > 0 {
					t.Errorf("%s imports %s: refused: %q", c.file, c.imports, got)
				}
				if c.rule != "" && !strings.Contains(strings.Join(got, "\n"), fmt.Sprintf("from list '%s': ", c.rule)) {
					t.Errorf("%s imports %s: rule %s does not bite: %q", c.file, c.imports, c.rule, got)
				}
				bitten[c.rule] = true
			}
			for name := range settings {
				if !bitten[name] {
					t.Errorf("rule %s has no case that it must refuse", name)
				}
			}
		})
	}
}

// findings runs the analyzer over a file that has one import.
func findings(t *testing.T, analyzer *analysis.Analyzer, name, imports string) []string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, fmt.Sprintf("package p\n\nimport _ %q\n", imports), parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	_, err = analyzer.Run(&analysis.Pass{
		Analyzer: analyzer,
		Fset:     fset,
		Files:    []*ast.File{file},
		Report:   func(d analysis.Diagnostic) { got = append(got, d.Message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"misspelt key": "a: {listmode: lax, files: ['**'], deny: {x: y}}\n",
		"no reason":    "a: {listMode: lax, files: ['**'], deny: {x: ''}}\n",
		"no files":     "a: {listMode: lax, deny: {x: y}}\n",
		"no rules":     "{}\n",
		"empty":        "",
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.WriteFile(filepath.Join(root, configName), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if settings, err := load(root); err == nil {
				t.Errorf("accepted: %v", settings)
			}
		})
	}
}
