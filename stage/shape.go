package stage

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// shape makes the tree at dst from the planned entries and from the documents,
// which are already at dst. It begins with former, a tree that has most
// files of the base, as the same inodes; nil for none. It keeps the files that the new tree
// shares with the base, removes all others, and makes only the missing ones. So
// the work depends on what changed, and not on the size of the tree. Without a
// spare it makes all files.
//
// Meanwhile the documents are in a directory beside dst. Its name begins like dst,
// so that a sweep removes both. The batch has the paths of the documents in dst;
// they are right again when the documents are moved back.
func (c *copier) shape(
	ctx context.Context, former *tree.Former, admitted []tree.Entry, facts []fact, named names,
) error {
	aside := c.dst + ".documents"
	if err := os.Rename(c.dst, aside); err != nil {
		return err
	}
	defer durable.RemoveAll(aside) // it is empty then, or an error makes it useless
	documents, err := tree.OpenSource(aside)
	if err != nil {
		return err
	}
	defer documents.Close()
	plan := c.shapeOf(admitted, facts, named)
	moves := make([]tree.Op, len(plan.documents))
	for i, p := range plan.documents {
		moves[i] = tree.Op{Path: p, From: documents, How: tree.Move}
	}
	cloner := tree.Cloner{Dst: c.dst, Batch: c.batch}
	if err := cloner.BeginPlan(ctx, former, plan); err != nil {
		return err
	}
	plan.link()
	rows, err := c.clone(ctx, plan, named)
	if err != nil {
		return err
	}
	c.out.complete(rows)
	_, err = cloner.Run(ctx, moves)
	return err
}

// shaping are the files of a new tree, a tree.Plan. There is an op only for those that are
// not in place: of a large tree that are few, and ops for all would need more memory than
// what else is known of it.
type shaping struct {
	c         *copier
	admitted  []tree.Entry
	facts     []fact // nil for documents
	shares    []bool // which of the admitted are the base's: see copier.shares
	held      []bool // which of these are in place
	ops       []tree.Op
	of        []int32  // the entries of the ops, ascending
	documents []string // which come last
}

// shapeOf plans the tree of some entries and of the documents. Files that it shares with the
// base have no op yet: see link.
func (c *copier) shapeOf(admitted []tree.Entry, facts []fact, named names) *shaping {
	p := &shaping{c: c, admitted: admitted, facts: facts, shares: make([]bool, len(admitted)),
		held: make([]bool, len(admitted)), documents: slices.Sorted(maps.Keys(c.out.documents))}
	n := 0
	for i, e := range admitted {
		if p.shares[i] = c.shares(e, facts[i]); !p.shares[i] {
			n++
		}
	}
	p.ops, p.of = make([]tree.Op, 0, n), make([]int32, 0, n)
	for i, e := range admitted {
		if !p.shares[i] {
			p.ops, p.of = append(p.ops, c.op(e, facts[i])), append(p.of, int32(i))
		}
	}
	c.twins(p, named)
	return p
}

func (p *shaping) Len() int { return len(p.admitted) + len(p.documents) }

func (p *shaping) At(i int) (path string, of *tree.Source) {
	switch n := len(p.admitted); {
	case i >= n:
		return p.documents[i-n], nil
	case p.shares[i]:
		return p.admitted[i].Path, p.c.base.Source
	}
	return p.admitted[i].Path, nil
}

func (p *shaping) Hold(i int, held bool) {
	if i < len(p.held) {
		p.held[i] = held
	}
}

func (p *shaping) Held(i int) bool { return i < len(p.held) && p.held[i] }

// link adds the ops of files that the new tree shares with the base and that are not in
// place.
func (p *shaping) link() {
	n := 0
	for i, shares := range p.shares {
		if shares && !p.held[i] {
			n++
		}
	}
	if n == 0 {
		return
	}
	ops, of := make([]tree.Op, 0, len(p.ops)+n), make([]int32, 0, len(p.ops)+n)
	for i, e := range p.admitted {
		switch {
		case !p.shares[i]:
			ops, p.ops = append(ops, p.ops[0]), p.ops[1:]
		case !p.held[i]:
			op := p.c.copy(e, p.facts[i])
			op.From, op.Name, op.How, op.SHA256, op.Stat = p.c.base.Source, "", tree.Share, p.facts[i].sum,
				tree.Stat{Size: e.Stat.Size}
			ops = append(ops, op)
		default:
			continue
		}
		of = append(of, int32(i))
	}
	p.ops, p.of = ops, of
}

// op returns the place of the op that makes the file at path; -1 for none.
func (p *shaping) op(path string) int {
	at, ok := slices.BinarySearchFunc(p.of, path, func(i int32, path string) int {
		return strings.Compare(p.admitted[i].Path, path)
	})
	if !ok {
		return -1
	}
	return at
}
