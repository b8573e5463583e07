// Package oracle checks a published tree with other people's programs: the Incus
// client library, incus-simplestreams, nginx, and a client that keeps what it
// once read.
package oracle

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
	"github.com/lxc/incus/v6/shared/util"
)

// Incus is one client of an image server. It caches the server's documents on
// disk for an hour, as Incus does, and so goes stale.
type Incus struct {
	server incus.ImageServer
	dir    string
}

// Connect makes a client with a cache in dir, which it shares with earlier
// ones that were given the same.
func Connect(server, dir string) (*Incus, error) {
	conn, err := incus.ConnectSimpleStreams(server, &incus.ConnectionArgs{
		CachePath:   dir,
		CacheExpiry: time.Hour,
		Proxy:       addressesOnly,
	})
	return &Incus{conn, dir}, err
}

// addressesOnly fails requests to hosts that have a name. The client first
// tries each file at http://http://SERVER/..., a host called http: where no
// name server answers, asking for it takes many seconds.
func addressesOnly(r *http.Request) (*url.URL, error) {
	if net.ParseIP(r.URL.Hostname()) == nil {
		return nil, fmt.Errorf("%s is not an address", r.URL.Host)
	}
	return nil, nil
}

// Images lists what the server offers, by fingerprint.
func (c *Incus) Images() (map[string]api.Image, error) {
	list, err := c.server.GetImages()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	images := make(map[string]api.Image, len(list))
	for _, image := range list {
		images[image.Fingerprint] = image
	}
	return images, nil
}

// Aliases resolves every alias, and returns the fingerprints.
func (c *Incus) Aliases() (map[string][]string, error) {
	names, err := c.server.GetImageAliasNames()
	if err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	aliases := make(map[string][]string, len(names))
	for _, name := range names {
		for _, kind := range []string{"container", "virtual-machine"} {
			entry, _, err := c.server.GetImageAliasType(kind, name)
			if api.StatusErrorCheck(err, http.StatusNotFound) || entry == nil {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("alias %s: %w", name, err)
			}
			if !slices.Contains(aliases[name], entry.Target) {
				aliases[name] = append(aliases[name], entry.Target)
			}
		}
		if len(aliases[name]) == 0 {
			return nil, fmt.Errorf("alias %s leads nowhere", name)
		}
	}
	return aliases, nil
}

// Download fetches one image; the client checks every file's sha256 and the
// fingerprint. The error is a StatusError or a BytesError where it can be.
func (c *Incus) Download(fingerprint string) error {
	meta, err := os.CreateTemp(c.dir, "meta-")
	if err != nil {
		return err
	}
	defer os.Remove(meta.Name())
	defer meta.Close()
	root, err := os.CreateTemp(c.dir, "root-")
	if err != nil {
		return err
	}
	defer os.Remove(root.Name())
	defer root.Close()
	got, err := c.server.GetImageFile(fingerprint, incus.ImageFileRequest{MetaFile: meta, RootfsFile: root})
	switch {
	case err == nil:
	case errors.Is(err, util.ErrNotFound):
		return StatusError{err.Error(), http.StatusNotFound}
	case strings.Contains(err.Error(), "Hash mismatch"), strings.Contains(err.Error(), "doesn't match"):
		return BytesError{fingerprint, err.Error()}
	default:
		return fmt.Errorf("download %s: %w", fingerprint, err)
	}
	if got.MetaSize <= 0 {
		return fmt.Errorf("download %s: no metadata came", fingerprint)
	}
	return nil
}

// List lists the images, and resolves every alias to one of them.
func (c *Incus) List() (map[string]api.Image, error) {
	images, err := c.Images()
	if err != nil {
		return nil, err
	}
	aliases, err := c.Aliases()
	if err != nil {
		return nil, err
	}
	for name, fingerprints := range aliases {
		for _, fingerprint := range fingerprints {
			if _, ok := images[fingerprint]; !ok {
				return nil, BytesError{"alias " + name, fmt.Sprintf("it leads to %s, which is not listed", fingerprint)}
			}
		}
	}
	return images, nil
}

// DownloadAll lists images and aliases and fetches every image.
func (c *Incus) DownloadAll() (map[string]api.Image, error) {
	images, err := c.List()
	if err != nil {
		return nil, err
	}
	for fingerprint := range images {
		if err := c.Download(fingerprint); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// Tool is the incus-simplestreams program.
type Tool string

// BuildTool builds it, in the version that this module's go.mod names, to dir.
func BuildTool(dir string) (Tool, error) {
	name := filepath.Join(dir, "incus-simplestreams")
	if out, err := exec.Command("go", "build", "-o", name,
		"github.com/lxc/incus/v6/cmd/incus-simplestreams").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build incus-simplestreams: %w\n%s", err, out)
	}
	return Tool(name), nil
}

// Run runs it in a tree. It writes times in the local zone: here UTC.
func (t Tool) Run(tree string, args ...string) (string, error) {
	cmd := exec.Command(string(t), args...)
	cmd.Dir, cmd.Env = tree, append(os.Environ(), "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("incus-simplestreams %s: %w: %s", strings.Join(args, " "), err,
			strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// discard reads a body to its end.
func discard(r io.ReadCloser) error {
	_, err := io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
