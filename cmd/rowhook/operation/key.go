package operation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeyPart is one column of a key, by its name in payloads or in the table, and its value as
// payloads have it.
type KeyPart struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ParseKey reads a row's key from texts such as loan_id=1000. A value is all that follows the first =,
// its spaces too. Errors name a text by its number: it may be row data.
func ParseKey(texts []string) ([]KeyPart, error) {
	if len(texts) == 0 {
		return nil, errors.New("the row's key is missing: write COLUMN=VALUE for each of its columns, such as loan_id=1000")
	}
	key := make([]KeyPart, 0, len(texts))
	for i, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		twice := slices.ContainsFunc(key, func(p KeyPart) bool { return p.Name == name })
		if !ok || name == "" || twice {
			return nil, fmt.Errorf("column %d of the key is no COLUMN=VALUE, or is given twice", i+1)
		}
		key = append(key, KeyPart{Name: name, Value: value})
	}
	return key, nil
}

// ParseReadKey is [ParseKey] for a row that is to be read: its values by column.
func ParseReadKey(texts []string) (map[string]string, error) {
	parts, err := ParseKey(texts)
	if err != nil {
		return nil, err
	}
	key := make(map[string]string, len(parts))
	for _, p := range parts {
		key[p.Name] = p.Value
	}
	return key, nil
}
