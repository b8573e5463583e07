package retention

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tags makes whole tags of a repository: NAME DAY, and words: broken, exempt,
// used=WHERE, rank=N.
func tags(repository string, lines ...string) []Tag {
	var out []Tag
	for i, line := range lines {
		words := strings.Fields(line)
		t := Tag{Repository: repository, Tag: words[0], Ref: repository + ":" + words[0], Seen: at(words[1]),
			Complete: true, Rank: i, Digest: "sha256:" + words[0]}
		for _, w := range words[2:] {
			switch key, value, _ := strings.Cut(w, "="); key {
			case "broken":
				t.Complete = false
			case "exempt":
				t.Exempt = "why"
			case "used":
				t.Used = value
			case "rank":
				_, _ = fmt.Sscan(value, &t.Rank)
			}
		}
		out = append(out, t)
	}
	return out
}

func TestTags(t *testing.T) {
	sha := TagRule{Repository: "docker.io/**", Tag: "sha-[0-9a-f]+"}
	with := func(r TagRule, f func(*TagRule)) TagRule { f(&r); return r }
	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	const app = "docker.io/acme/app"
	for _, c := range []struct {
		name  string
		rules []TagRule
		tags  []Tag
		want  []string
	}{{
		name: "no rules keep all",
		tags: tags(app, "v1 2025-01-01"),
		want: []string{"+ v1: no rule"},
	}, {
		name: "keeps are a union, a reason for each",
		rules: []TagRule{with(sha, func(r *TagRule) {
			r.KeepLast, r.OlderThan, r.Protect = 2, days(14), []string{"x", "sha-0000.*"}
		})},
		tags: tags(app, "sha-0000a 2025-01-01", "sha-1 2026-01-01", "sha-2 2025-12-27", "sha-3 2025-12-27T00:00:01Z",
			"sha-4 2026-01-05", "v1 2025-01-01", "sha-g 2025-01-01", "xsha-1 2025-01-01", "sha-1x 2025-01-01"),
		want: []string{
			"+ sha-4: last 2; younger than 14d",
			"+ sha-1: last 2; younger than 14d",
			"+ sha-3: younger than 14d",
			"+ sha-2: younger than 14d",
			"+ sha-1x: no rule", "+ xsha-1: no rule", "+ sha-g: no rule", "+ v1: no rule",
			"+ sha-0000a: protected by sha-0000.*",
		},
	}, {
		name:  "counts are of a repository, and of the tags on which the rule decides",
		rules: []TagRule{with(sha, func(r *TagRule) { r.KeepLast = 1 }), {Repository: "**", Tag: ".*", KeepLast: 1}},
		tags: slices.Concat(tags(app, "sha-1 2025-01-01", "sha-2 2025-01-02", "v1 2025-01-01", "v2 2025-01-03"),
			tags("docker.io/acme/b", "sha-1 2025-01-01"), tags("quay.io/x", "sha-1 2025-01-01", "sha-2 2025-01-02")),
		want: []string{
			"+ docker.io/acme/app v2: last 1", "+ docker.io/acme/app sha-2: last 1", "+ docker.io/acme/b sha-1: last 1",
			"+ quay.io/x sha-2: last 1",
			"- docker.io/acme/app v1: not kept by rule 2 (**, .*)",
			"- docker.io/acme/app sha-1: not kept by rule 1 (docker.io/**, sha-[0-9a-f]+)",
			"- quay.io/x sha-1: not kept by rule 2 (**, .*)",
		},
	}, {
		name:  "tags of the same time are ordered by their places",
		rules: []TagRule{{Repository: "**", Tag: ".*", KeepLast: 1}},
		tags:  tags(app, "v10 2025-01-01 rank=3", "v9 2025-01-01 rank=2", "v8 2025-01-01 rank=2"),
		want:  []string{"+ v10: last 1", "- v9: not kept by rule 1 (**, .*)", "- v8: not kept by rule 1 (**, .*)"},
	}, {
		name:  "what is in use stays and counts; broken and exempt ones stay and do not",
		rules: []TagRule{{Repository: "**", Tag: ".*", KeepLast: 2}},
		tags: tags(app, "v6 2025-01-06 exempt", "v5 2025-01-05 broken", "v4 2025-01-04 used=pods.txt:7",
			"v3 2025-01-03", "v2 2025-01-02", "v1 2025-01-01 used=pods.txt:9", "v0 2025-01-01 used=a:1 exempt"),
		want: []string{
			"+ v6: no rule decides: why", "+ v5: incomplete: never counts as kept",
			"+ v4: in use: pods.txt:7; last 2", "+ v3: last 2",
			"+ v0: in use: a:1; no rule decides: why", "+ v1: in use: pods.txt:9",
			"- v2: not kept by rule 1 (**, .*)",
		},
	}, {
		name:  "an image without a tag is for rules that say so, and for no other",
		rules: []TagRule{{Repository: "**", Tag: ".*", KeepLast: 1}, {Repository: "**", Tag: "@.*", OlderThan: days(7)}},
		tags:  tags(app, "@sha256:01 2026-01-09", "@sha256:02 2025-01-09", "v1 2025-01-01"),
		want: []string{"+ @sha256:01: younger than 7d", "+ v1: last 1",
			"- @sha256:02: not kept by rule 2 (**, @.*)"},
	}, {
		name: "rules that decide on nothing",
		rules: []TagRule{{Repository: "docker.io/*", Tag: ".*", KeepLast: 1}, {Repository: "**/app", Tag: ".*", KeepLast: 1},
			{Repository: "docker.io/**", Tag: "v.*", KeepLast: 1}},
		tags: tags(app, "v1 2025-01-01"),
		want: []string{"+ v1: last 1", "? 1 docker.io/*, .* shadowed=false", "? 3 docker.io/**, v.* shadowed=true"},
	}, {
		name:  "a policy that is wrong keeps all",
		rules: []TagRule{{Repository: "**", Tag: "("}},
		tags:  tags(app, "v1 2025-01-01"),
		want:  []string{"+ v1: invalid policy"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			rand.Shuffle(len(c.tags), func(i, j int) { c.tags[i], c.tags[j] = c.tags[j], c.tags[i] })
			got := slices.DeleteFunc(report(ApplyTags(c.tags, TagPolicy{c.rules}, at("2026-01-10"))),
				func(line string) bool { return line[0] == '!' })
			for i := range got {
				got[i] = strings.Replace(got[i], " "+app+" ", " ", 1)
			}
			want := slices.Clone(c.want)
			for i := range want {
				want[i] = strings.Replace(want[i], " "+app+" ", " ", 1)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestTagPolicyCheck(t *testing.T) {
	for _, c := range []struct {
		rule TagRule
		want string
	}{
		{TagRule{Repository: "**", Tag: ".*", KeepLast: 1}, ""},
		{TagRule{Repository: "docker.io/**/x-*", Tag: "a|b", Protect: []string{".*"}}, ""},
		{TagRule{Tag: ".*", KeepLast: 1}, "repository: is empty; ** matches every repository"},
		{TagRule{Repository: "a//b", Tag: ".*", KeepLast: 1}, `repository: "a//b" has an empty part between slashes`},
		{TagRule{Repository: "a**", Tag: ".*", KeepLast: 1}, `repository: "a**" has ** beside other characters`},
		{TagRule{Repository: "[", Tag: ".*", KeepLast: 1}, `repository: "[" is not a pattern`},
		{TagRule{Repository: "**", KeepLast: 1}, "tag: is empty; .* matches every tag"},
		{TagRule{Repository: "**", Tag: "a)(b", KeepLast: 1}, "tag: unexpected ): `a)(b`"},
		{TagRule{Repository: "**", Tag: "(?=a)", KeepLast: 1}, "tag: invalid or unsupported Perl syntax: `(?=`"},
		{TagRule{Repository: "**", Tag: "a", Protect: []string{"["}}, "protect: missing closing ]: `[`"},
		{TagRule{Repository: "**", Tag: "a", Protect: []string{""}}, "protect: a pattern is empty"},
		{TagRule{Repository: "**", Tag: "a", KeepLast: -1}, "keep_last: -1 is negative"},
		{TagRule{Repository: "**", Tag: "a", KeepLast: 1_000_001}, "keep_last: 1000001 is more than 1000000"},
		{TagRule{Repository: "**", Tag: "a", OlderThan: -1}, "older_than: -1ns is negative"},
		{TagRule{Repository: "**", Tag: "a", OlderThan: time.Second}, "older_than: 1s is less than a minute"},
		{TagRule{Repository: "**", Tag: "a", OlderThan: maxWithin + time.Hour}, "older_than: 878401h is more than"},
		{TagRule{Repository: "**", Tag: "a"}, "keep_last: the rule keeps nothing"},
	} {
		err := TagPolicy{Rules: []TagRule{c.rule}}.Check()
		switch text := fmt.Sprint(err); {
		case c.want == "" && err != nil, c.want != "" && !strings.Contains(text, "rule 1 ("+c.rule.name()+"): "+c.want):
			t.Errorf("%+v: %v, want %s", c.rule, err, c.want)
		}
	}
	same := TagRule{Repository: "**", Tag: "a", KeepLast: 1}
	rule := new(RuleError)
	if err := (TagPolicy{Rules: []TagRule{same, same}}).Check(); !errors.As(err, &rule) || rule.Rule != 2 {
		t.Errorf("the same rule twice: %v", err)
	}
}

// For every input: what a rule keeps stays, what is in use stays, applying a policy to
// what it kept removes nothing more, and raising a keep removes nothing more.
func TestTagsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := at("2026-01-10")
		gen := rapid.Custom(func(t *rapid.T) Tag {
			return Tag{Repository: rapid.SampledFrom([]string{"a/b", "a/c", "d"}).Draw(t, "repository"),
				Tag:  rapid.StringMatching(`@?[a-c][0-9]{1,2}`).Draw(t, "tag"),
				Seen: now.Add(-time.Duration(rapid.IntRange(-10, 40).Draw(t, "age")) * 12 * time.Hour),
				Rank: rapid.IntRange(0, 3).Draw(t, "rank"), Complete: rapid.IntRange(0, 5).Draw(t, "whole") > 0,
				Exempt: rapid.SampledFrom([]string{"", "", "", "x"}).Draw(t, "exempt"),
				Used:   rapid.SampledFrom([]string{"", "", "", "f:1"}).Draw(t, "used")}
		})
		list := rapid.SliceOfNDistinct(gen, 0, 30, func(t Tag) string { return t.Repository + ":" + t.Tag }).Draw(t, "tags")
		rule := rapid.Custom(func(t *rapid.T) TagRule {
			return TagRule{Repository: rapid.SampledFrom([]string{"**", "a/*", "a/b", "d"}).Draw(t, "glob"),
				Tag:      rapid.SampledFrom([]string{".*", "@.*", "a.*", "b[0-9]", "[bc].+"}).Draw(t, "pattern"),
				KeepLast: rapid.IntRange(0, 4).Draw(t, "last"), Protect: []string{"c9.*"},
				OlderThan: time.Duration(rapid.IntRange(0, 20).Draw(t, "older")) * 24 * time.Hour}
		})
		p := TagPolicy{rapid.SliceOfNDistinct(rule, 0, 4, func(r TagRule) string { return r.name() }).Draw(t, "rules")}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		res := ApplyTags(list, p, now)
		if len(res.Keep)+len(res.Remove) != len(list) {
			t.Fatalf("%d of %d tags", len(res.Keep)+len(res.Remove), len(list))
		}
		gone := map[string]bool{}
		for _, d := range res.Remove {
			gone[d.Product+":"+d.Version] = true
		}
		var kept []Tag
		for _, x := range list {
			if !gone[x.Repository+":"+x.Tag] {
				kept = append(kept, x)
			} else if x.Used != "" || x.Exempt != "" || !x.Complete || regexp.MustCompile("^c9").MatchString(x.Tag) {
				t.Fatalf("%+v was removed", x)
			}
		}
		if again := ApplyTags(kept, p, now); len(again.Remove) > 0 {
			t.Fatalf("a second time: %+v", again.Remove)
		}
		for i := range p.Rules {
			more := TagPolicy{slices.Clone(p.Rules)}
			more.Rules[i].KeepLast++
			for _, d := range ApplyTags(list, more, now).Remove {
				if !gone[d.Product+":"+d.Version] {
					t.Fatalf("with one more kept, %s:%s goes", d.Product, d.Version)
				}
			}
		}
	})
}

func BenchmarkTags(b *testing.B) {
	var list []Tag
	now := at("2026-01-10")
	for i := range 100_000 {
		list = append(list, Tag{Repository: fmt.Sprint("docker.io/acme/app", i%100), Tag: fmt.Sprintf("sha-%08x", i),
			Seen: now.Add(-time.Duration(i) * time.Minute), Complete: true})
	}
	p := TagPolicy{[]TagRule{{Repository: "quay.io/**", Tag: ".*", KeepLast: 3},
		{Repository: "docker.io/**", Tag: "v[0-9.]+", KeepLast: 9},
		{Repository: "docker.io/**", Tag: "sha-[0-9a-f]+", KeepLast: 5, OlderThan: 14 * 24 * time.Hour,
			Protect: []string{"sha-0000.*"}}}}
	for b.Loop() {
		if res := ApplyTags(list, p, now); len(res.Remove) == 0 {
			b.Fatal("nothing goes")
		}
	}
}
