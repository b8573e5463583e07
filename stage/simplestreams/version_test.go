package simplestreams

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestVersionTime(t *testing.T) {
	for name, want := range map[string]string{
		"20260102":             "2026-01-02T00:00:00Z",
		"20260102_15:04":       "2026-01-02T15:04:00Z",
		"20260102_15:04:05":    "2026-01-02T15:04:05Z",
		"20260102_1504":        "2026-01-02T15:04:00Z",
		"20260102_150405":      "2026-01-02T15:04:05Z",
		"20260102T1504Z":       "2026-01-02T15:04:00Z",
		"2026010215":           "2026-01-02T15:00:00Z",
		"202601021504":         "2026-01-02T15:04:00Z",
		"20260102150405":       "2026-01-02T15:04:05Z",
		"202601021504-rc1":     "2026-01-02T15:04:00Z",
		"20260102_15:04.1":     "2026-01-02T15:04:00Z",
		"20260102_00:00":       "2026-01-02T00:00:00Z",
		"20260102_23:59:59":    "2026-01-02T23:59:59Z",
		"20260102.1":           "2026-01-02T00:00:00Z",
		"20260102_1":           "2026-01-02T00:00:00Z",
		"20260102_12345":       "2026-01-02T00:00:00Z",
		"20260102-1654":        "2026-01-02T00:00:00Z",
		"20260102-9999":        "2026-01-02T00:00:00Z",
		"20260102-rc1":         "2026-01-02T00:00:00Z",
		"20260102_rc1":         "2026-01-02T00:00:00Z",
		"20260102_":            "2026-01-02T00:00:00Z",
		"20260102beta":         "2026-01-02T00:00:00Z",
		"20240229":             "2024-02-29T00:00:00Z",
		"20000229":             "2000-02-29T00:00:00Z",
		"20261231_23:59":       "2026-12-31T23:59:00Z",
		"19700101":             "1970-01-01T00:00:00Z",
		"99991231":             "9999-12-31T00:00:00Z",
		"":                     "",
		"latest":               "",
		"2026010":              "",
		"202601021":            "", // nine digits
		"20260102150":          "",
		"202601021504051":      "",
		"20250229":             "",
		"21000229":             "",
		"20260431":             "",
		"20260001":             "",
		"20261301":             "",
		"20260100":             "",
		"19691231":             "",
		"1712010100":           "", // a Unix time of 2024
		"20260102_24:00":       "",
		"20260102_12:60":       "",
		"20260102_12:30:60":    "",
		"20260102_2400":        "",
		"20260102_7:30":        "",
		"20260102_12:3":        "",
		"20260102_12:345":      "",
		"20260102_12:34:5":     "",
		"20260102_:34":         "",
		"20260102_1234:":       "",
		"20260102:12":          "",
		"202601022400":         "",
		"202601021260":         "",
		"2026-01-02":           "",
		" 20260102":            "",
		"+2026010":             "",
		"２０２６０１０２":             "",
		"v20260102":            "",
		"20260102\x00":         "2026-01-02T00:00:00Z",
		"20260102_15:04+02:00": "2026-01-02T15:04:00Z", // a suffix: names are UTC
	} {
		got, ok := versionTime(name)
		text := ""
		if ok {
			text = got.Format(time.RFC3339)
		}
		if text != want || ok == got.IsZero() || got.Location() != time.UTC {
			t.Errorf("%q: %q, %t, want %q", name, text, ok, want)
		}
	}
}

// A name that tells a time is one that clients list, with the same day.
func FuzzVersionTime(f *testing.F) {
	for _, name := range []string{"20260102", "20260102_15:04", "202601021504", "20260102_1504.1", "20260102T150405Z",
		"20260230_9:99", "1712010100"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, ok := versionTime(name)
		if !ok {
			if !got.IsZero() {
				t.Fatalf("%q: %v without ok", name, got)
			}
			return
		}
		// Incus: shared/simplestreams/products.go, ToAPI.
		day, err := time.Parse("20060102", name[:8])
		if err != nil {
			t.Fatalf("%q: a client skips it: %v", name, err)
		}
		if d := got.Sub(day); d < 0 || d >= 24*time.Hour {
			t.Fatalf("%q: %v is not on %v", name, got, day)
		}
	})
}

// dated takes for a date what clients take for one.
func TestDated(t *testing.T) {
	digits := rapid.StringOfN(rapid.SampledFrom([]rune("0001239")), 8, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), digits,
			rapid.Map(digits, func(s string) string { return s[:6] + "3" + s[7:] + "x" })).Draw(t, "name")
		want := false
		if len(name) >= 8 {
			_, err := time.Parse("20060102", name[:8])
			want = err == nil
		}
		if got := dated(name); got != want {
			t.Errorf("%q: %v, and clients say %v", name, got, want)
		}
	})
}

// Names in the order of numbers, as people mean them, in every style.
func TestCompareAsNumbers(t *testing.T) {
	for _, names := range [][]string{
		{"20260101.9", "20260101.10", "20260102", "20260102.1"},
		{"20260101-9", "20260101-10", "20260101-100"},
		{"20260101_9", "20260101_10"},
		{"20260101", "20260101.1", "20260101.1.9", "20260101.1.10", "20260101.2"},
		{"20260101_9:30", "20260101_10:00", "20260102_8:00"},
		{"20260102_08:00", "202601022300", "20260103_0100", "20260103T0200", "2026010303"},
		{"20260101-rc9", "20260101-rc10"},
		{"9.0", "10.0", "14.0-RELEASE", "v9", "v10"},
		{"20260101_00:09", "20260101_00:10"},
		{"1", "02", "3"},
	} {
		for i, a := range names {
			for j, b := range names {
				if got := compareAsNumbers(a, b); got != cmp.Compare(i, j) {
					t.Errorf("%s and %s: %d", a, b, got)
				}
			}
		}
	}
}

// compareAsNumbers is a total order, and the short way past it agrees with it.
func TestOrderIsTotal(t *testing.T) {
	name := rapid.StringOfN(rapid.SampledFrom([]rune("0019._-T:ab\u00e4")), 0, 6, -1)
	dated := rapid.Map(name, func(s string) string { return "20260101" + s })
	names := rapid.OneOf(name, dated)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := names.Draw(t, "a"), names.Draw(t, "b"), names.Draw(t, "c")
		if compareAsNumbers(a, b) != -compareAsNumbers(b, a) || (compareAsNumbers(a, b) == 0) != (a == b) {
			t.Fatal("not antisymmetric")
		}
		if compareAsNumbers(a, b) < 0 && compareAsNumbers(b, c) < 0 && compareAsNumbers(a, c) >= 0 {
			t.Fatal("not transitive")
		}
		if a < b && sameShape(a, b) && compareAsNumbers(a, b) > 0 {
			t.Fatal("of one shape, and in another order")
		}
	})
}

// Where text and numbers differ, validate warns, once a product, and prune is
// told the order of the numbers.
func TestVersionOrder(t *testing.T) {
	version := func(name string) string {
		return `"` + name + `":{"items":{"u":{"ftype":"incus_combined.tar.gz","path":"images/` + hashOf(name) +
			`.tar.gz","sha256":"` + hashOf(name) + `","size":1}}}`
	}
	for _, tc := range []struct{ names, want string }{
		{"20260101.1 20260101.2 20260102", ""},
		{"20260101.10 20260101.9", "p: as text 20260101.10 sorts before 20260101.9, and as a number after it: " +
			"clients take 20260101.9 for the newest, not 20260101.10"},
		{"20260101.10 20260101.9 20260102", "p: as text 20260101.10 sorts before 20260101.9, and as a number after " +
			"it: clients take the order of the text"},
		{"20260101_9:00 20260101_10:00", "p: as text 20260101_10:00 sorts before 20260101_9:00, and as a number " +
			"after it: clients take 20260101_9:00 for the newest, not 20260101_10:00"},
		{"v10 v9", "p: as text v10 sorts before v9, and as a number after it: clients take v9 for the newest, not v10"},
		{"v10 20260101", ""},
		{"9.0 20260101", ""}, // one of them is skipped
	} {
		var versions []string
		for _, name := range strings.Fields(tc.names) {
			versions = append(versions, version(name))
		}
		cat := mustRead(t, treeOf(t, `{"products":{"p":{"arch":"amd64","versions":{`+strings.Join(versions, ",")+
			`}}}}`))
		got := ""
		for _, f := range cat.Findings {
			if f.Code == "version-order" {
				got += f.Message
			}
		}
		if got != tc.want {
			t.Errorf("%s: %q, not %q", tc.names, got, tc.want)
		}
		for i, a := range cat.Versions {
			for _, b := range cat.Versions[:i] {
				if (a.Rank < b.Rank) != (compareAsNumbers(a.Name, b.Name) < 0) {
					t.Errorf("%s has rank %d, %s %d", a.Name, a.Rank, b.Name, b.Rank)
				}
			}
		}
	}
}

// One reader of version names: what an image was created at is the time of its
// version.
func TestOneReader(t *testing.T) {
	doc := treeDoc(metaIncus, unifiedIncus)
	for name, want := range map[string]string{"2026010215": "2026-01-02T15:00:00Z",
		"20260102_15:04-rc1": "2026-01-02T15:04:00Z", "20260102150": "0001-01-01T00:00:00Z",
		"v1": "0001-01-01T00:00:00Z"} {
		cat := mustRead(t, treeOf(t, strings.Replace(doc, "20260101_00:00", name, 1)))
		for _, img := range cat.Images {
			if got := img.Created.Format(time.RFC3339); got != want || !img.Created.Equal(cat.Versions[0].Time) {
				t.Errorf("%s: %s and %v, not %s", name, got, cat.Versions[0].Time, want)
			}
		}
	}
}
