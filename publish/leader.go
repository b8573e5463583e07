package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"example.com/publish/stage/durable"
)

// Leader says whose target a repository is. A target has its production from its leader,
// by Reception, and makes no generation of its own: its numbers are the leader's.
type Leader struct {
	ID     string `json:"leader"` // of the repository that leads
	Target string `json:"target"` // the name of the target there
	// Tombstones is the Lead.Revoked that was carried out last.
	Tombstones string `json:"tombstones"`
}

func (r *Repo) leaderPath() string { return r.path(".publish", "leader") }

// Leader returns whose target the repository is; nil if it is none.
func (r *Repo) Leader() (*Leader, error) {
	if r.shared != nil {
		return r.shared.leader()
	}
	data, err := durable.ReadFile(r.leaderPath(), 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &Leader{}
	if err := json.Unmarshal(data, l); err != nil || l.ID == "" || !TargetName(l.Target) {
		return nil, &Error{Path: r.leaderPath(), Fact: "does not say whose target this repository is",
			Hint: "move it away if the repository is to be its own; then no leader can sync it any more"}
	}
	return l, nil
}

func (r *Repo) writeLeader(l *Leader) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return durable.WriteFile(r.leaderPath(), append(data, '\n'), 0o644)
}

// ledVerbs are those that would make a generation of the target's own, or prepare one.
var ledVerbs = []string{"promote", "revert", "prune", "revoke", "sign", "adopt"}

// notLed refuses a verb that only a leader may run.
func (r *Repo) notLed(verb string) error {
	if first, _, _ := strings.Cut(verb, " "); first != "stage" && first != "mirror" && !slices.Contains(ledVerbs, verb) {
		return nil
	}
	l, err := r.Leader()
	if err != nil || l == nil {
		return err
	}
	return &Error{Kind: Refused, Path: r.Dir,
		Hint: "run publish " + verb + " in the repository that leads, then publish sync",
		Fact: fmt.Sprintf("is the target %s of the repository %s, and has its production from there", l.Target, l.ID)}
}

// led reports whether the repository is a target, or may be one.
func (r *Repo) led() bool {
	l, err := r.Leader()
	return l != nil || err != nil
}
