package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A bill of materials in SPDX 2.3: what the binaries were made of, as they themselves say.
type (
	bill struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []material     `json:"packages"`
		Files         []billed       `json:"files"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	material struct {
		ID            string      `json:"SPDXID"`
		Name          string      `json:"name"`
		Version       string      `json:"versionInfo"`
		Purpose       string      `json:"primaryPackagePurpose"`
		Location      string      `json:"downloadLocation"`
		FilesAnalyzed bool        `json:"filesAnalyzed"`
		Concluded     string      `json:"licenseConcluded"`
		Declared      string      `json:"licenseDeclared"`
		Copyright     string      `json:"copyrightText"`
		Comment       string      `json:"comment,omitempty"`
		References    []reference `json:"externalRefs,omitempty"`
	}
	reference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	billed struct {
		ID        string     `json:"SPDXID"`
		Name      string     `json:"fileName"`
		Types     []string   `json:"fileTypes"`
		Checksums []checksum `json:"checksums"`
		Concluded string     `json:"licenseConcluded"`
		Copyright string     `json:"copyrightText"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	relationship struct {
		Of   string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

// unknown is what SPDX has for what was not looked at.
const unknown = "NOASSERTION"

var notInID = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// materials writes the bill of the binaries.
func (r release) materials(binaries map[string]string) error {
	program := material{ID: "SPDXRef-publish", Name: "publish", Version: r.version(), Purpose: "APPLICATION",
		Location: unknown, Concluded: "Apache-2.0", Declared: "Apache-2.0", Copyright: unknown,
		Comment: "of commit " + r.commit}
	doc := bill{Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "publish-" + r.version(),
		Creation:      creation{r.at.Format(time.RFC3339), []string{"Tool: publish-release-" + r.version()}},
		Packages:      []material{program},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", program.ID}}}
	all := sha256.New()
	modules := map[string]material{}
	for _, arch := range architectures {
		data, err := os.ReadFile(binaries[arch])
		if err != nil {
			return err
		}
		all.Write(data)
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("%s: %w", binaries[arch], err)
		}
		f := billed{ID: "SPDXRef-linux-" + arch, Name: "./linux_" + arch + "/publish", Types: []string{"BINARY"},
			Concluded: unknown, Copyright: unknown,
			Checksums: []checksum{{"SHA1", fmt.Sprintf("%x", sha1.Sum(data))}, {"SHA256", fmt.Sprintf("%x",
				sha256.Sum256(data))}}}
		doc.Files = append(doc.Files, f)
		doc.Relationships = append(doc.Relationships, relationship{program.ID, "CONTAINS", f.ID})
		for _, m := range linked(info) {
			modules[m.ID] = m
			doc.Relationships = append(doc.Relationships, relationship{f.ID, "DEPENDS_ON", m.ID})
		}
	}
	for _, m := range modules {
		doc.Packages = append(doc.Packages, m)
	}
	slices.SortFunc(doc.Packages[1:], func(a, b material) int { return strings.Compare(a.ID, b.ID) })
	doc.Namespace = fmt.Sprintf("https://example.com/publish/spdx/%s-%x", r.version(), all.Sum(nil))
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.path(".spdx.json"), append(data, '\n'), 0o644)
}

// linked are Go itself and the modules of a binary.
func linked(info *debug.BuildInfo) []material {
	version := strings.TrimPrefix(info.GoVersion, "go")
	out := []material{{ID: "SPDXRef-go-stdlib-" + version, Name: "stdlib", Version: version,
		References: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/stdlib@" + version}}}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		d := material{ID: "SPDXRef-go-" + notInID.ReplaceAllString(m.Path, "-") + "-" +
			notInID.ReplaceAllString(m.Version, "-"), Name: m.Path, Version: m.Version,
			References: []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}}}
		if m.Sum != "" {
			d.Comment = "go.sum " + m.Sum
		}
		out = append(out, d)
	}
	for i := range out {
		m := &out[i]
		m.Purpose, m.Location, m.Concluded, m.Declared, m.Copyright = "LIBRARY", unknown, unknown, unknown, unknown
	}
	return out
}

// sum writes SHA256SUMS, as sha256sum -c reads it, of all files of the release.
func (r release) sum() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), b.Bytes(), 0o644)
}
