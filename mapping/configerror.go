package mapping

import "slices"

// ConfigError is a fault in the config. The loader turns its path into file, line and column.
type ConfigError struct {
	path   []string
	text   string
	remedy string
}

func (e *ConfigError) Error() string { return e.text }

// ConfigPath returns where in the config the fault is, key by key; list elements by their index.
func (e *ConfigError) ConfigPath() []string { return e.path }

// RemedyText returns what to write instead; it may be empty.
func (e *ConfigError) RemedyText() string { return e.remedy }

// path is a place in the config. Deeper places are made with at, which never shares memory.
type path []string

func (p path) at(segments ...string) path { return append(slices.Clip(p), segments...) }

func (p path) err(text, remedy string) error {
	return &ConfigError{path: p, text: text, remedy: remedy}
}

// didYouMean returns a remedy naming the candidate nearest to what was written, or "".
func didYouMean(written string, candidates []string) string {
	best, bestDistance := "", len(written)/3+2
	for _, c := range candidates {
		if d := editDistance(written, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
