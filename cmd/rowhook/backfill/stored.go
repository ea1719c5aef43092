package backfill

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Values of keys are bytes as the database has them, and JSON has texts: a database in SQL_ASCII keeps
// whatever it was given. So a value that is no UTF-8 is stored as {"bytes": BASE64}, and any other as
// the string that it is.

// keyText is a key's value as it is stored.
type keyText string

type keyBytes struct {
	Bytes []byte `json:"bytes"`
}

// MarshalJSON implements [json.Marshaler].
func (k keyText) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(k)) {
		return json.Marshal(string(k))
	}
	return json.Marshal(keyBytes{[]byte(k)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (k *keyText) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '{' {
		var b keyBytes
		if err := json.Unmarshal(raw, &b); err != nil {
			return fmt.Errorf("a key's value: %w", err)
		}
		*k = keyText(b.Bytes)
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("a key's value: %w", err)
	}
	*k = keyText(text)
	return nil
}

// packed is a key as it is stored.
func packed(key []string) []keyText {
	var out []keyText
	for _, value := range key {
		out = append(out, keyText(value))
	}
	return out
}

func unpacked(key []keyText) []string {
	var out []string
	for _, value := range key {
		out = append(out, string(value))
	}
	return out
}

// The stored forms have their keys in place of the plain ones.
type (
	plainJob  Job
	storedJob struct {
		plainJob
		Key []keyText `json:"key,omitempty"`
	}
	plainProgress  progress
	storedProgress struct {
		plainProgress
		After []keyText   `json:"after,omitempty"`
		Again [][]keyText `json:"again,omitempty"`
	}
)

// MarshalJSON implements [json.Marshaler].
func (j Job) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedJob{plainJob(j), packed(j.Key)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (j *Job) UnmarshalJSON(raw []byte) error {
	var s storedJob
	err := json.Unmarshal(raw, &s)
	*j = Job(s.plainJob)
	j.Key = unpacked(s.Key)
	return err
}

// MarshalJSON implements [json.Marshaler].
func (p progress) MarshalJSON() ([]byte, error) {
	s := storedProgress{plainProgress: plainProgress(p), After: packed(p.After)}
	for _, key := range p.Again {
		s.Again = append(s.Again, packed(key))
	}
	return json.Marshal(s)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (p *progress) UnmarshalJSON(raw []byte) error {
	var s storedProgress
	err := json.Unmarshal(raw, &s)
	*p = progress(s.plainProgress)
	p.After, p.Again = unpacked(s.After), nil
	for _, key := range s.Again {
		p.Again = append(p.Again, unpacked(key))
	}
	return err
}
