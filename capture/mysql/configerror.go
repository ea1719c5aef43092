package mysql

// configError is a value of the config's `source` section that cannot work.
type configError struct {
	key  string
	err  error
	hint string
}

func (e *configError) Error() string { return "source." + e.key + ": " + e.err.Error() }

func (e *configError) Unwrap() error { return e.err }

// ConfigPath leads to the value from the top of the config.
func (e *configError) ConfigPath() []string { return []string{"source", e.key} }

// Hint says what would work; it may be empty.
func (e *configError) Hint() string { return e.hint }
