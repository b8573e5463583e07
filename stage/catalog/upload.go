package catalog

import (
	"strings"

	"example.com/publish/stage/lazyregexp"
)

// The names that files have only while something writes them, for all formats.
// Leaving out a finished file is worse than publishing an unfinished one under
// a name that nobody asks for. So only names that tools give are listed here.

// uploadEndings are what tools append to a name while they write the file, in
// lower case, from the last dot on.
var uploadEndings = map[string]bool{
	".part": true, ".partial": true, // Firefox, KIO, Nextcloud, Python simplestreams; rclone, wget2
	".filepart": true, // WinSCP
	// Chromium, Opera, Safari, Free Download Manager, DownThemAll.
	".crdownload": true, ".opdownload": true, ".download": true, ".fdmdownload": true, ".dtapart": true,
	".!qb": true, ".!ut": true, ".bc!": true, // clients of BitTorrent
	".aria2": true, ".lftp-pget-status": true, // control files: see Unfinished
	".gstmp": true,                    // gsutil, gcloud storage
	".swp":   true, ".kate-swp": true, // Vim, Kate
	// Syncthing, Unison and scripts.
	".tmp": true, ".temp": true, ".upload": true, ".uploading": true, ".downloading": true, ".incomplete": true,
	".work-in-progress": true, ".in-progress": true, ".inprogress": true,
}

// shortestEnding is the length of the shortest of them; most names end in less, such as
// .xz.
const shortestEnding = 4

// uploadPrefixes are what tools put before a name, or the beginnings of names
// that they make up.
var uploadPrefixes = []string{
	".in.",              // ProFTPD's HiddenStores (.in.NAME.) and lftp (.in.NAME)
	".pureftpd-upload.", // Pure-FTPd
	".syncthing.", "~syncthing~",
	".unison.",
	".azDownload-", // AzCopy
	".ocTransferId",
	".davfs.tmp",                                     // Apache's mod_dav_fs
	".goutputstream-",                                // the programs of GNOME
	".com.google.Chrome.", ".org.chromium.Chromium.", // before the user has named the file
	".#", ".~lock.", // locks of Emacs and LibreOffice, temporary files of systemd
	".fuse_hidden", ".__afs", // what was removed while it was open
}

// uploadDirs are directories that hold files only until they are complete.
var uploadDirs = map[string]bool{
	".rsync-partial": true, ".~tmp~": true, // rsync's --partial-dir and --delay-updates
	".work-in-progress": true,
	".repodata":         true, // createrepo
}

// uploadNames are whole names. A match counts when accept says so of its group,
// or is nil.
var uploadNames = []struct {
	name   *lazyregexp.Regexp
	accept func(random string) bool
}{
	// rsync: a dot, the name, and six random letters and digits.
	{lazyregexp.New(`^\..+\.([A-Za-z0-9]{6})$`), mixed},
	// mktemp.
	{lazyregexp.New(`^tmp\.([A-Za-z0-9]{10})$`), mixed},
	// The AWS command line: the name and eight random hex digits of both cases.
	{lazyregexp.New(`^.+\.([0-9a-fA-F]{8})$`), func(random string) bool {
		return strings.ToUpper(random) != random && strings.ToLower(random) != random
	}},
	// renameio, and so this program: a dot, the name, a random 64-bit number.
	{lazyregexp.New(`^\..*?[^0-9]([0-9]{15,20})$`), nil},
	// An NFS client's name for a file that was removed while it was open.
	{lazyregexp.New(`^\.nfs([0-9a-f]{24})$`), nil},
	// Vim, where the name that ends in .swp is taken.
	{lazyregexp.New(`^\..+\.sw([a-o])$`), nil},
	// The desktop clients of Nextcloud and ownCloud.
	{lazyregexp.New(`^\..+\.~([0-9a-f]{3,16})$`), nil},
	// Emacs.
	{lazyregexp.New(`^#(.+)#$`), nil},
}

// mixed reports whether characters are random rather than a word or a number. Of
// names with six that rsync chooses, 96 of a hundred mix upper case with something
// else; ".htaccess.backup", ".env.README" or ".log.202601" do not.
func mixed(random string) bool {
	upper := 0
	for _, r := range random {
		if r >= 'A' && r <= 'Z' {
			upper++
		}
	}
	return upper > 0 && upper < len(random)
}

// Uploading reports whether a path is one that a file has only while something
// writes it, by its own name or by that of a directory on the way to it.
func Uploading(p string) bool {
	base := p
	for {
		dir, rest, below := strings.Cut(base, "/")
		if !below {
			break
		}
		if strings.HasPrefix(dir, ".") && uploadDirs[dir] || affixed(dir) {
			return true
		}
		base = rest
	}
	if base == ".work-in-progress" || affixed(base) {
		return true
	}
	n := len(base)
	if n == 0 || base[0] != '.' && base[0] != '#' && !hexEnding(base) && (n != 14 || !strings.HasPrefix(base, "tmp.")) {
		return false // like nearly all names: no expression would match
	}
	for _, u := range uploadNames {
		if m := u.name.FindStringSubmatch(base); m != nil && (u.accept == nil || u.accept(m[1])) {
			return true
		}
	}
	return false
}

// hexEnding reports whether a name ends in a dot and eight hex digits. ".squashfs"
// is as long, and every second file of an image server has it.
func hexEnding(name string) bool {
	n := len(name)
	return n >= 10 && name[n-9] == '.' && strings.Trim(name[n-8:], "0123456789abcdefABCDEF") == ""
}

// affixed reports whether a name has an upload's prefix or ending, and something
// beside it.
func affixed(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") {
		for _, prefix := range uploadPrefixes {
			if len(name) > len(prefix) && strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	dot := strings.LastIndexByte(name, '.')
	return dot > 0 && len(name)-dot >= shortestEnding && uploadEndings[strings.ToLower(name[dot:])]
}

// Unfinished returns the path of the file that a download is writing, if p is
// the download's control file: while that lies beside it, the file is not whole
// although it has its own name.
func Unfinished(p string) (of string, ok bool) {
	for _, ending := range []string{".aria2", ".lftp-pget-status"} {
		if of, ok := strings.CutSuffix(p, ending); ok && of != "" && !strings.HasSuffix(of, "/") {
			return of, true
		}
	}
	return "", false
}
