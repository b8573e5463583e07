package publish

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
)

// SignConfig is the key sign of publish.yaml: with what promote, revert, revoke and sign say
// that production is what they made. Keys are files; none stands in publish.yaml.
type SignConfig struct {
	OpenPGP  SignerConfig `yaml:"openpgp"`   // of documents, for formats whose clients read that
	Minisign SignerConfig `yaml:"minisign"`  // of the list of all files
	ValidFor Duration     `yaml:"valid_for"` // 0: no end
}

// SignerConfig says how signatures of one kind are made: by keys, or by a command.
type SignerConfig struct {
	Key            Keys     `yaml:"key"`
	PassphraseFile string   `yaml:"passphrase_file"`
	Command        []string `yaml:"command"` // argv: bytes in, signature out
	// DetachedCommand is argv, of OpenPGP alone: bytes in, and out comes a signature to put beside
	// documents that are never replaced. Command makes signed documents.
	DetachedCommand []string `yaml:"detached_command"`
}

// Keys are files with secret keys, relative to the repository or absolute: one, or several that
// sign at once while a key is replaced by another.
type Keys []string

// UnmarshalYAML reads one name or a list of names.
func (k *Keys) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		var list []string
		if err := n.Decode(&list); err != nil {
			return err
		}
		*k = list
		return nil
	}
	var one string
	if err := n.Decode(&one); err != nil {
		return err
	}
	if *k = nil; one != "" {
		*k = Keys{one}
	}
	return nil
}

// options are the names and commands of a configuration, for the repository at dir. Commands run
// there, as hooks do.
func (c *SignConfig) options(dir string) sign.Options {
	return sign.Options{OpenPGP: c.OpenPGP.options(dir), Minisign: c.Minisign.options(dir),
		Beside: c.OpenPGP.DetachedCommand, Dir: dir}
}

func (c *SignerConfig) options(dir string) sign.KeyOptions {
	at := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	out := sign.KeyOptions{PassphraseFile: at(c.PassphraseFile), Command: c.Command}
	for _, k := range c.Key {
		out.Keys = append(out.Keys, at(k))
	}
	return out
}

// Set reports whether anything is signed.
func (c *SignConfig) Set() bool {
	openpgp, minisign := c.options("").Set()
	return openpgp || minisign
}

// lifetime is how long signatures are good for; 0: without end.
func (c *SignConfig) lifetime() time.Duration { return time.Duration(c.ValidFor) }

func (c *SignConfig) check() error {
	var errs []error
	for _, s := range []struct {
		name string
		of   SignerConfig
	}{{"openpgp", c.OpenPGP}, {"minisign", c.Minisign}} {
		if slices.Contains(s.of.Key, "") {
			errs = append(errs, fmt.Errorf("sign.%s.key: a name is empty", s.name))
		}
		if len(s.of.Key) > 0 && len(s.of.Command) > 0 {
			errs = append(errs, fmt.Errorf("sign.%s: has a key and a command; one of them signs", s.name))
		}
		if s.of.PassphraseFile != "" && len(s.of.Key) == 0 {
			errs = append(errs, fmt.Errorf("sign.%s.passphrase_file: there is no key that it could be for", s.name))
		}
		if len(s.of.Command) > 0 && s.of.Command[0] == "" {
			errs = append(errs, fmt.Errorf("sign.%s.command: the name of the program is empty", s.name))
		}
	}
	errs = append(errs, c.checkDetached())
	if d := c.lifetime(); d != 0 && d < time.Hour {
		errs = append(errs, fmt.Errorf("sign.valid_for: %s is less than an hour, for which clients keep what they read",
			c.ValidFor))
	}
	return errors.Join(errs...)
}

// checkDetached checks the command for signatures that lie beside documents.
func (c *SignConfig) checkDetached() error {
	const key = "sign.openpgp.detached_command"
	argv := c.OpenPGP.DetachedCommand
	switch {
	case len(c.Minisign.DetachedCommand) > 0:
		return errors.New("sign.minisign.detached_command: is for openpgp alone; sign.minisign.command makes " +
			"what lies beside the list")
	case len(argv) == 0:
		return nil
	case argv[0] == "":
		return errors.New(key + ": the name of the program is empty")
	case len(c.OpenPGP.Key) > 0 && len(c.OpenPGP.Command) == 0:
		return errors.New(key + ": is for a command that signs; leave it out, because a key makes these signatures itself")
	case len(c.OpenPGP.Command) == 0:
		return errors.New(key + ": needs sign.openpgp.command, which signs documents inside")
	}
	return nil
}

// warnings are for settings without effect in a format. immutable reports whether clients read
// documents that are never replaced: those have signatures beside them.
func (c *SignConfig) warnings(format string, signs, immutable bool) []string {
	openpgp, minisign := c.options("").Set()
	var out []string
	if openpgp && !signs {
		out = append(out, "sign.openpgp: has no effect in a repository of the format "+format+
			": no client looks for such signatures of its documents; sign.minisign is for every format")
	}
	switch byCommand, detached := len(c.OpenPGP.Command) > 0, len(c.OpenPGP.DetachedCommand) > 0; {
	case !byCommand || !signs:
	case immutable && !detached:
		out = append(out, "sign.openpgp.command: makes no .json.gpg beside the catalogs in the object store; "+
			"sign.openpgp.detached_command makes it")
	case detached && !immutable:
		out = append(out, "sign.openpgp.detached_command: has no effect here: only catalogs in an object store that "+
			"clients read directly get a .json.gpg")
	}
	if c.ValidFor != 0 && !minisign {
		out = append(out, "sign.valid_for: has no effect without sign.minisign: only its list says until when it is good")
	}
	return out
}

// signs reports whether the clients of a format read clearsigned documents.
func signs(f catalog.Format) bool {
	_, ok := catalog.As[catalog.Signer](f)
	return ok
}
