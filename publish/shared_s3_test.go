package publish

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/store"
	"example.com/publish/publish/site/bucket/storetest"
)

// Each request of promotes, with the gc at their end, and of reverts is spoiled on its way
// to a server: each is done, once.
func TestSharedSpoiledByTheNetwork(t *testing.T) {
	server := storetest.Fake(t)
	server.Setenv(t)
	proxy := storetest.NewProxy(t, server)
	opened, err := store.Open(ctx, store.Config{Bucket: server.Bucket, Prefix: "images", Endpoint: proxy.Endpoint,
		Sleep: func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.CloseIdle)
	m := joined(t, &machine{via: opened, who: "ada"})
	m.cfg = func(c *Config) { c.Grace, c.Generations.Keep = 0, 1 }
	m.put(map[string]string{"a/0": "content 0"})
	n := m.promote().Generation
	for _, fault := range []storetest.Fault{storetest.NeverSent, storetest.AnswerLost, storetest.Status500,
		storetest.Status503, storetest.Applied500} {
		for what, do := range map[string]func() (*Result, error){
			"promote": func() (*Result, error) {
				return m.repo().Promote(ctx, PromoteOptions{Force: true}) // also after a revert
			},
			"revert": func() (*Result, error) { return m.repo().Revert(ctx, RevertOptions{Force: true}) },
		} {
			for at := 1; ; at++ {
				m.put(map[string]string{fmt.Sprintf("a/%d", n): fmt.Sprint("content ", n)})
				if what == "revert" { // there is something to go back from
					if _, err := m.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil {
						t.Fatal(err)
					}
					n++
				}
				proxy.SpoilNth(at, fault)
				res, err := do()
				took := len(proxy.Requests())
				proxy.Spoil(nil)
				if err != nil || res.Generation != n+1 || res.Unchanged {
					t.Fatalf("%s, request %d, %s: %+v, %v, want generation %d", what, at, fault, res, err, n+1)
				}
				n++
				if report, got, err := m.repo().Verify(ctx, "", true); err != nil || got != n || len(report.Findings) > 0 {
					t.Fatalf("%s, request %d, %s: generation %d, %+v, %v", what, at, fault, got, report, err)
				}
				if took < at {
					if at < 5 {
						t.Fatalf("a %s takes %d requests", what, took)
					}
					break
				}
			}
		}
	}
}
