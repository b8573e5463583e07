package fanout

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/durable"
)

// state is what was heard of a target last: .publish/targets/NAME. Only status reads it.
type state struct {
	To         string    `json:"to"`
	Generation int       `json:"generation"` // 0: none, or not known
	Seal       string    `json:"seal"`       // of the leader's manifest of it; "" if this leader did not sync it
	Revoked    string    `json:"revoked"`    // a digest of what was carried out there
	At         time.Time `json:"at"`         // when the target was asked; zero: never
	LastError  string    `json:"last_error"`
	LastTry    time.Time `json:"last_try"`
}

func stateDir(r *publish.Repo) string               { return filepath.Join(r.Dir, ".publish", "targets") }
func statePath(r *publish.Repo, name string) string { return filepath.Join(stateDir(r), name) }

// maxState bounds a state, in bytes.
const maxState = 64 << 10

// readState returns what is known of a target. Of a target that has another address now,
// and if the file is damaged, nothing is.
func readState(r *publish.Repo, name, to string) (state, error) {
	data, err := durable.ReadFile(statePath(r, name), maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return state{To: to}, nil
	}
	if err != nil {
		return state{To: to}, err
	}
	var s state
	if json.Unmarshal(data, &s) != nil || s.To != to {
		return state{To: to}, nil
	}
	return s, nil
}

func (s state) write(r *publish.Repo, name string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.WriteFile(statePath(r, name), append(data, '\n'), 0o644)
}

// StateOf returns what was heard last of each target in publish.yaml, for publish.Options.
// It asks no target.
func StateOf(r *publish.Repo) []publish.TargetState {
	var out []publish.TargetState
	for _, name := range r.Config.TargetNames() {
		to := r.Config.Targets[name].To
		s, err := readState(r, name, to)
		t := publish.TargetState{Name: name, To: to, Generation: s.Generation, LastError: s.LastError, Revoked: s.Revoked}
		if err != nil {
			t.LastError = err.Error()
		}
		if !s.At.IsZero() {
			t.Asked = &s.At
		}
		if !s.LastTry.IsZero() {
			t.LastTry = &s.LastTry
		}
		out = append(out, t)
	}
	return out
}
