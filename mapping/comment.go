package mapping

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// The tags of a statement's comment that tell the context, in the form of sqlcommenter: key='value'
// with commas between, keys and values percent-encoded. Tags of other tools are left alone.
const (
	tagActorID   = "actor_id"
	tagActorName = "actor_name"
	tagOperation = "operation"
)

// takeComment makes a statement's comment hold until the next one, which may be empty. One that is
// malformed holds for nothing.
func (c *contexts) takeComment(content []byte) error {
	if bytes.Equal(content, c.lastComment) {
		c.comment = c.lastTold
		return nil
	}
	t, err := decodeComment(string(content))
	c.comment = t
	if err == nil {
		c.lastComment, c.lastTold = append(c.lastComment[:0], content...), t
	}
	return err
}

var errComment = errors.New("statement's comment is not of the form key='value',key='value', percent-encoded")

// decodeComment reads the tags of a comment in the form of sqlcommenter. Its errors hold no data.
func decodeComment(text string) (told, error) {
	var t told
	for text = strings.TrimSpace(text); text != ""; {
		key, rest, ok := strings.Cut(text, "='")
		if !ok {
			return told{}, errComment
		}
		value, rest, ok := cutQuoted(rest)
		if !ok {
			return told{}, errComment
		}
		if err := t.tag(strings.TrimSpace(key), value); err != nil {
			return told{}, err
		}
		if text = strings.TrimSpace(rest); text == "" {
			break
		}
		if text, ok = strings.CutPrefix(text, ","); !ok {
			return told{}, errComment
		}
	}
	return t, nil
}

// cutQuoted returns the text before the closing quote, in which a backslash quotes the next
// character.
func cutQuoted(text string) (value, rest string, ok bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '\'':
			return text[:i], text[i+1:], true
		}
	}
	return "", "", false
}

// tag takes one tag, if it is one of ours.
func (t *told) tag(key, value string) error {
	var into *string
	switch key {
	case tagActorID:
		into = &t.actor.ID
	case tagActorName:
		into = &t.actor.Name
	case tagOperation:
		into = &t.operation
	default:
		return nil
	}
	decoded, err := url.PathUnescape(strings.ReplaceAll(value, `\'`, `'`))
	if err != nil || !utf8.ValidString(decoded) {
		return errComment
	}
	*into = decoded
	return nil
}
