package bucket

// ExistsError is what Store.Create returns for a key that exists, and says what is
// there: the caller compares it with what it wanted to make.
type ExistsError struct{ Info *Info }

func (e *ExistsError) Error() string { return e.Info.Key + ": " + ErrExists.Error() }
func (e *ExistsError) Unwrap() error { return ErrExists }
