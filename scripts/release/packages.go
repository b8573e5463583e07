package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

const summary = "atomic two-stage publisher of image trees"

const description = summary + `
Builds write to staging; publish promote validates what is staged and makes
it production in one atomic step, and publish revert goes back. It serves the
trees that Incus and LXD read (simplestreams), OCI image layouts, and other
trees behind a web server. A reader sees the old tree or the new one, never
a mixture.`

// packager is a kind of packages.
type packager interface {
	Package(info *nfpm.Info, w io.Writer) error
}

// packages writes the packages of Debian and RPM for an architecture.
func (r release) packages(arch, binary string, g generated) error {
	list, err := r.installed(binary, g)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "publish-package")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	for kind, p := range map[string]packager{forDeb: deb.Default, forRPM: rpm.DefaultRPM} {
		info, err := r.info(kind, arch, work, list)
		if err != nil {
			return err
		}
		to, err := os.Create(r.path("_" + arch + "." + kind))
		if err != nil {
			return err
		}
		err = p.Package(info, to)
		if closed := to.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// info describes a package. Its files are put into work, from where they are packed.
func (r release) info(kind, arch, work string, list []file) (*nfpm.Info, error) {
	info := &nfpm.Info{
		Name: "publish", Arch: arch, Platform: "linux", Version: r.tag, Release: "1", MTime: r.at,
		Section: "admin", Priority: "optional", Maintainer: r.maintainer, Description: description,
		License: "Apache-2.0", DisableGlobbing: true,
	}
	info.Recommends = []string{"ca-certificates"} // for stores, mirrors and webhooks by HTTPS
	// gzip, because every dpkg and rpm reads it, and it is fast.
	scripts := map[string]*string{}
	switch kind {
	case forDeb:
		// These have the programs that postinst runs; a container has no systemd.
		info.Depends = []string{"systemd | systemd-standalone-sysusers | systemd-sysusers",
			"systemd | systemd-standalone-tmpfiles | systemd-tmpfiles"}
		info.Suggests = []string{"openssh-client"} // for targets behind ssh
		info.Deb.Compression = "gzip"
		scripts = map[string]*string{"postinst": &info.Scripts.PostInstall, "prerm": &info.Scripts.PreRemove,
			"postrm": &info.Scripts.PostRemove}
	case forRPM:
		info.Depends = []string{"systemd"}
		info.Suggests = []string{"openssh-clients"}
		info.RPM.Compression = "gzip:9"
		info.RPM.Summary, info.RPM.BuildHost, info.RPM.Packager = summary, "localhost", r.maintainer
		scripts = map[string]*string{"post": &info.Scripts.PostInstall, "preun": &info.Scripts.PreRemove,
			"postun": &info.Scripts.PostRemove}
	}
	for name, at := range scripts {
		*at = filepath.Join(work, kind+"."+name)
		if err := os.WriteFile(*at, text(kind+"/"+name), 0o755); err != nil {
			return nil, err
		}
	}
	for _, f := range list {
		if f.only != "" && f.only != kind {
			continue
		}
		c := &files.Content{Destination: "/" + f.path, Type: files.TypeFile, FileInfo: &files.ContentFileInfo{
			Owner: "root", Group: "root", Mode: os.FileMode(f.mode), MTime: r.at}}
		switch {
		case f.folder:
			c.Type = files.TypeDir
		case f.config:
			c.Type = files.TypeConfigNoReplace
		case kind == forRPM && strings.HasPrefix(f.path, "usr/share/doc/publish/"),
			kind == forRPM && strings.HasPrefix(f.path, "usr/share/man/"):
			c.Type = files.TypeRPMDoc
		}
		if !f.folder {
			c.Source = filepath.Join(work, kind, f.path)
			if err := os.MkdirAll(filepath.Dir(c.Source), 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(c.Source, f.data, 0o644); err != nil {
				return nil, err
			}
		}
		info.Contents = append(info.Contents, c)
	}
	return nfpm.WithDefaults(info), nil
}
