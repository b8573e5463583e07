package catalog

import "testing"

func TestUploading(t *testing.T) {
	for _, p := range []string{
		"disk.iso.part", "a/disk.iso.partial", "disk.iso.filepart", "disk.iso.crdownload", "disk.iso.aria2",
		"disk.iso.tmp",
		"disk.iso.work-in-progress", "DISK.ISO.PART", "x.!qB", "a/.work-in-progress", "disk.iso.lftp-pget-status",
		"disk.iso_.gstmp",
		".in.disk.iso.", "a/.in.disk.iso", ".pureftpd-upload.5f1b", ".syncthing.disk.iso.tmp",
		"~syncthing~disk.iso.tmp",
		"a/.disk.iso.x7Gh2q", "..htaccess.Ab3dEf", "tmp.a8Bc9DeFgH", "disk.iso.6E5f8D2a",
		".index.html5577006791947779410",
		".nfs00000000000a1b2c00000001", ".fuse_hidden0000a1b2", ".index.html.swp", ".index.html.swo", "index.html.swp",
		".goutputstream-A1B2C3", ".#index.html", "#index.html#", ".disk.iso.~1a2b3c",
		"a/.rsync-partial/disk.iso", ".~tmp~/disk.iso", "20260101.tmp/disk.iso", "images/.in.20260101/disk.iso",
		".repodata/repomd.xml",
	} {
		if !Uploading(p) {
			t.Errorf("%s: not in progress", p)
		}
	}
	for _, p := range []string{
		"", "a", "index.html", "a/index.html~", ".htaccess", ".well-known/security.txt", ".htaccess.backup",
		".env.README", ".log.202601",
		".backup20260101", ".part", "a/.tmp", "notes.party", "in.disk.iso", "template.tmpl", "disk.iso.part1",
		"disk.part.iso",
		"a/.rsync-partial-notes/disk.iso", "a.nfs00000000000a1b2c00000001/disk.iso", "page.20260101", "page.deadbeef",
		"tmp.index.html",
		"#1", ".swp", "images/20260101_00:00/disk.qcow2", "a/.in./x", ".git/index", "repodata/repomd.xml",
		"~user/index.html",
	} {
		if Uploading(p) {
			t.Errorf("%s: in progress", p)
		}
	}
}

func TestUnfinished(t *testing.T) {
	for p, want := range map[string]string{"a/x.iso.aria2": "a/x.iso", "x.lftp-pget-status": "x", "a/.aria2": "",
		".aria2": "", "x.iso": "", "aria2": ""} {
		if got, ok := Unfinished(p); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v; want %q", p, got, ok, want)
		}
	}
}
