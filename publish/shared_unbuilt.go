package publish

// local returns an error for a verb that needs production on this machine.
func (r *Repo) local(verb string) error {
	if r.shared == nil {
		return nil
	}
	return &Error{Kind: Usage, Path: r.Production(), Fact: "publish " + verb +
		" does not work yet where production is in an object store"}
}
