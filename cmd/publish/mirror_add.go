package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/publish/mirror"
)

func (p *program) mirrorAddCommand() *command {
	return verb(&cli.Command{
		Name: "add", ArgsUsage: "REF...",
		Usage: "ask for images of other servers",
		Description: "Puts a job for each REF into the queue, and prints its name. publish mirror run fetches the image: " +
			"all that it leads to, or nothing comes into staging. REF is a name as Docker reads it, such as " +
			"docker.io/library/alpine:3.20, or with @sha256:...; what is asked for twice is one job. A name that " +
			"mirror.lock.yaml has gets the digest that it is locked to. In a repository of format simplestreams REF is " +
			"URL#PRODUCT or URL#PRODUCT/VERSION, with patterns for product and version.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "platform",
				Usage: "of an image with several, only `OS/ARCH[/VARIANT]`; may be given again"},
			&cli.IntFlag{Name: "versions", Usage: "of each product, only the newest `N`"},
			&cli.StringSliceFlag{Name: "filter",
				Usage: "only what has `FIELD=TEXT` (or != ~ !~ and a pattern); may be given again"},
			&cli.IntFlag{Name: "priority", Usage: "jobs with a higher `N` come first"},
			&cli.StringFlag{Name: "requester", Usage: "note `WHO` asks; default: the user"},
			&cli.BoolFlag{Name: "locked", Usage: "take only what mirror.lock.yaml has"},
			&cli.BoolFlag{Name: "accept-drift", Usage: "follow a name that moved, and change mirror.lock.yaml"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would be asked for, and ask for nothing"},
		},
	}, 1, -1, p.mirrorAdd).
		example("fetch an image for two platforms",
			"publish mirror add docker.io/library/alpine:3.20 --platform linux/amd64 --platform linux/arm64").
		example("fetch the newest two versions of some products for one architecture",
			"publish mirror add 'https://images.example.com#debian:*' --versions 2 --filter arch=amd64").
		completesFlag("platform", somePlatforms).
		completesFlag("filter", these("arch=amd64", "arch=arm64", "variant=default"))
}

// askedFor is the answer of mirror add: one for each reference.
type askedFor struct {
	ID        string `json:"id"` // "" with --dry-run
	Reference string `json:"reference"`
	Canonical string `json:"canonical"`
	Name      string `json:"name"` // that it will have in the tree
	Existed   bool   `json:"existed"`
}

func (p *program) mirrorAdd(c *cli.Context) error {
	m, err := p.mirrorOf()
	if err != nil {
		return err
	}
	if c.IsSet("requester") && c.String("requester") == "" {
		return usage("", "--requester: is empty")
	}
	if c.IsSet("versions") && c.Int("versions") < 1 {
		return usage("", "--versions: %d is less than 1", c.Int("versions"))
	}
	wish := mirror.Wish{References: c.Args().Slice(), Platforms: c.StringSlice("platform"), Versions: c.Int("versions"),
		Filters: c.StringSlice("filter"), Priority: c.Int("priority"), By: mirror.Me(c.String("requester")),
		Locked: c.Bool("locked"), AcceptDrift: c.Bool("accept-drift")}
	var out []askedFor
	if c.Bool("dry-run") {
		list, err := m.Plan(wish)
		if err != nil {
			return err
		}
		for _, r := range list {
			out = append(out, askedFor{Reference: r.Reference, Canonical: r.Canonical, Name: m.NameOf(r.Canonical)})
		}
		return p.answer(out, func() {
			for _, a := range out {
				p.say("%s", a.Canonical)
				if a.Name != a.Canonical {
					p.note("%s would be %s in the tree", a.Canonical, a.Name)
				}
			}
		})
	}
	if err := m.Repo.Allows("mirror add"); err != nil {
		return err
	}
	added, err := m.Add(c.Context, wish)
	if err != nil {
		return byFile(m, err)
	}
	for _, a := range added {
		out = append(out, askedFor{a.Job.ID, a.Job.Reference, a.Job.Canonical, m.NameOf(a.Job.Canonical), a.Existed})
	}
	return p.answer(out, func() {
		for _, a := range out {
			if a.Existed {
				p.note("%s: was asked for already", a.Canonical)
			}
			p.say("%s", a.ID)
		}
	})
}
