package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// file is one that a package or an archive brings.
type file struct {
	path   string // where it is installed, without the first slash
	data   []byte
	mode   int64
	owner  int  // its user and group
	folder bool // data is not used
	config bool // an operator edits it: an upgrade keeps what it finds
	only   string
}

//go:embed files
var fixed embed.FS

// text is a file of the folder files.
func text(name string) []byte {
	data, err := fixed.ReadFile("files/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return data
}

// packed is data as gzip has it, without a name and a time.
func packed(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// The packagers of a file that belongs to one of them only.
const (
	forDeb = "deb"
	forRPM = "rpm"
)

// installed are the files of the packages, sorted.
func (r release) installed(binary string, g generated) ([]file, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	const doc = "usr/share/doc/publish/"
	out := []file{
		{path: "usr/bin/publish", data: program, mode: 0o755},
		{path: "usr/lib/sysusers.d/publish.conf", data: text("sysusers.conf")},
		{path: "usr/lib/tmpfiles.d/publish.conf", data: text("tmpfiles.conf")},
		{path: "etc/publish", folder: true, mode: 0o755},
		{path: "etc/publish/default", data: text("default"), config: true},
		{path: strings.TrimSuffix(doc, "/"), folder: true, mode: 0o755},
		{path: doc + "examples", folder: true, mode: 0o755},
		{path: doc + "copyright", data: text("copyright")},
		{path: doc + "examples/publish.rules.yml", data: []byte(g.rules)},
		{path: "usr/share/lintian/overrides/publish", data: text("lintian-overrides"), only: forDeb},
		{path: "usr/share/bash-completion/completions/publish", data: []byte(g.completions["bash"])},
		{path: "usr/share/zsh/vendor-completions/_publish", data: []byte(g.completions["zsh"]), only: forDeb},
		{path: "usr/share/zsh/site-functions/_publish", data: []byte(g.completions["zsh"]), only: forRPM},
		{path: "usr/share/fish/vendor_completions.d/publish.fish", data: []byte(g.completions["fish"])},
	}
	for name, unit := range g.units {
		out = append(out, file{path: "usr/lib/systemd/system/" + name, data: []byte(unit)})
	}
	small := map[string]file{
		doc + "changelog.Debian": {data: []byte(r.debianChangelog()), only: forDeb},
		doc + "changelog":        {data: []byte(g.changelog)},
		doc + "NOTICES":          {data: []byte(g.notices)},
	}
	for name, page := range g.pages {
		small["usr/share/man/man"+strings.TrimPrefix(path.Ext(name), ".")+"/"+name] = file{data: []byte(page)}
	}
	for name, f := range small {
		f.path = name + ".gz"
		if f.data, err = packed(f.data); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	for i := range out {
		if out[i].mode == 0 {
			out[i].mode = 0o644
		}
	}
	slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// debianChangelog is the entry that a package of Debian has to have. What changed for users is in
// CHANGELOG.md.
func (r release) debianChangelog() string {
	return fmt.Sprintf("publish (%s-1) unstable; urgency=medium\n\n  * Release %s of commit %.12s: see changelog.gz.\n\n"+
		" -- %s  %s\n", strings.Replace(r.version(), "-", "~", 1), r.version(), r.commit, r.maintainer,
		r.at.Format(time.RFC1123Z))
}

// archive writes publish_1.2.3_linux_amd64.tar.gz, for systems without packages.
func (r release) archive(arch, binary string, g generated) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	list := []file{
		{path: "publish", data: program, mode: 0o755},
		{path: "LICENSE", data: []byte(g.license)},
		{path: "NOTICES", data: []byte(g.notices)},
		{path: "README.md", data: []byte(g.readme)},
		{path: "CHANGELOG.md", data: []byte(g.changelog)},
		{path: "publish.rules.yml", data: []byte(g.rules)},
		{path: "etc/default", data: text("default")},
		{path: "sysusers.d/publish.conf", data: text("sysusers.conf")},
		{path: "tmpfiles.d/publish.conf", data: text("tmpfiles.conf")},
	}
	for _, from := range []struct {
		folder string
		files  map[string]string
	}{{"man", g.pages}, {"completions", g.completions}, {"systemd", g.units}} {
		for name, content := range from.files {
			list = append(list, file{path: path.Join(from.folder, name), data: []byte(content)})
		}
	}
	top := "publish_" + r.version() + "_linux_" + arch
	for i := range list {
		list[i].path = path.Join(top, list[i].path)
	}
	var b bytes.Buffer
	if err := r.tar(&b, list); err != nil {
		return err
	}
	data, err := packed(b.Bytes())
	if err != nil {
		return err
	}
	return os.WriteFile(r.path("_linux_"+arch+".tar.gz"), data, 0o644)
}

// tar writes files, and the folders that they are in, in the order of their names: all have one
// time and a number as owner.
func (r release) tar(to io.Writer, list []file) error {
	all := map[string]file{}
	for _, f := range list {
		if f.mode == 0 {
			f.mode = 0o644
		}
		all[f.path] = f
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if _, there := all[dir]; !there {
				all[dir] = file{path: dir, folder: true, mode: 0o755}
			}
		}
	}
	w := tar.NewWriter(to)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.path, Size: int64(len(f.data)), Mode: f.mode, ModTime: r.at,
			Uid: f.owner, Gid: f.owner, Format: tar.FormatUSTAR}
		if f.folder {
			h.Typeflag, h.Name = tar.TypeDir, f.path+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	return w.Close()
}
