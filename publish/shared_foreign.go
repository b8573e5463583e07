package publish

import (
	"bytes"
	"encoding/json"
	"time"

	"example.com/publish/stage/durable"
)

// ForeignState is what the last listing of the object store found of others' objects below
// production's prefix. Only a listing finds them, and status makes none.
type ForeignState struct {
	Objects int       `json:"objects"`
	Seen    time.Time `json:"seen"` // by the store's clock
}

const maxForeign = 1 << 10

func (b *shared) foreignPath() string { return b.r.path(".publish", "foreign") }

// sawForeign records what a listing found, for status. That it fails is no reason to stop.
func (b *shared) sawForeign(f ForeignState) {
	text, err := json.Marshal(f)
	if err == nil {
		err = durable.WriteFile(b.foreignPath(), durable.Line(text), 0o644)
	}
	if err != nil {
		b.r.opt.Warn("the number of others' objects is not recorded: " + err.Error())
	}
}

// foreign is what was recorded; nil for nothing, or nothing that can be read: the next
// listing writes it anew.
func (b *shared) foreign() *ForeignState {
	if b == nil {
		return nil
	}
	data, err := durable.ReadFile(b.foreignPath(), maxForeign)
	if err != nil {
		return nil
	}
	text, ok := durable.Unline(bytes.TrimSuffix(data, []byte("\n")))
	out := &ForeignState{}
	if !ok || json.Unmarshal(text, out) != nil {
		return nil
	}
	return out
}
