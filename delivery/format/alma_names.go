package format

import (
	"bytes"
	"strings"

	"rowhook/delivery"
)

// almaObjects are the payload members of Alma's actions.
var almaObjects = map[string]string{
	"JOB_END":              "job_instance",
	"NOTIFICATION":         "webhook_notification",
	"USER":                 "webhook_user",
	"LOAN":                 "item_loan",
	"REQUEST":              "user_request",
	"BIB":                  "bib",
	"ITEM":                 "item",
	"RECEIVE":              "item",
	"RS_BORROWING_REQUEST": "user_resource_sharing_request",
}

// almaDescs are the texts of Alma's events where they are other than the event's words.
var almaDescs = map[string]string{
	"BIB_CREATED":        "BIB record created",
	"BIB_UPDATED":        "BIB record updated",
	"BIB_DELETED":        "BIB record deleted",
	"RECEIVE_CONTINUOUS": "Item received",
}

// withoutEvent are the actions whose messages tell no event, unless one is given.
var withoutEvent = map[string]bool{"JOB_END": true, "USER": true}

// given returns a name that the mapping gives the event; nil with true is one that is to be left out.
func given(ev *delivery.Event, name string) (*string, bool) {
	if ev.As == nil {
		return nil, false
	}
	text, ok := ev.As[name]
	return text, ok
}

// renamed replaces the name that dst ends with, and that begins at start, where the profile has another for it.
func (a *alma) renamed(dst []byte, start int) []byte {
	if a.names == nil {
		return dst
	}
	if to, ok := a.names[string(dst[start:])]; ok {
		return append(dst[:start], to...)
	}
	return dst
}

// appendAction appends the action, or nothing.
func (a *alma) appendAction(dst []byte, ev *delivery.Event) []byte {
	start := len(dst)
	return a.renamed(appendOwnAction(dst, ev), start)
}

// appendOwnAction appends the action by Alma's name: the type's first word.
func appendOwnAction(dst []byte, ev *delivery.Event) []byte {
	if text, ok := given(ev, "action"); ok {
		if text != nil {
			dst = append(dst, *text...)
		}
		return dst
	}
	first, _, _ := strings.Cut(ev.Type, ".")
	return appendUpper(dst, first)
}

// appendEventName appends the event's value, or nothing.
func (a *alma) appendEventName(dst []byte, ev *delivery.Event) []byte {
	start := len(dst)
	return a.renamed(appendOwnEvent(dst, ev), start)
}

// appendOwnEvent appends the event by Alma's name: the type's words.
func appendOwnEvent(dst []byte, ev *delivery.Event) []byte {
	if text, ok := given(ev, "event"); ok {
		if text != nil {
			dst = append(dst, *text...)
		}
		return dst
	}
	start := len(dst)
	if withoutEvent[string(appendOwnAction(dst, ev)[start:])] {
		return dst
	}
	return appendUpper(dst, ev.Type)
}

// appendDesc writes the event's text into dst, or nothing.
func appendDesc(dst []byte, ev *delivery.Event) []byte {
	if text, ok := given(ev, "desc"); ok {
		if text == nil {
			return dst[:0]
		}
		return append(dst[:0], *text...)
	}
	dst = appendOwnEvent(dst[:0], ev)
	if text, ok := almaDescs[string(dst)]; ok {
		return append(dst[:0], text...)
	}
	if _, isGiven := given(ev, "event"); !isGiven || bytes.ContainsAny(dst, "abcdefghijklmnopqrstuvwxyz") {
		dst = append(dst[:0], ev.Type...) // a letter's code, for one, has no words to tell
	}
	for i, c := range dst {
		switch {
		case c == '.' || c == '_':
			dst[i] = ' '
		case i == 0 && c >= 'a' && c <= 'z':
			dst[i] = c - 'a' + 'A'
		case i > 0 && c >= 'A' && c <= 'Z':
			dst[i] = c - 'A' + 'a'
		}
	}
	return dst
}

// appendObject appends the payload member's name: the mapping's, else the action's.
func (a *alma) appendObject(dst []byte, ev *delivery.Event) []byte {
	start := len(dst)
	if ev.Object != "" {
		return a.renamed(append(dst, ev.Object...), start)
	}
	dst = appendOwnAction(dst, ev)
	if object, ok := almaObjects[string(dst[start:])]; ok {
		return a.renamed(append(dst[:start], object...), start)
	}
	for i := start; i < len(dst); i++ {
		if c := dst[i]; c >= 'A' && c <= 'Z' {
			dst[i] = c - 'A' + 'a'
		}
	}
	if len(dst) == start {
		dst = append(dst, "data"...)
	}
	return a.renamed(dst, start)
}

// appendUpper appends a type's words in capitals, with underscores between them.
func appendUpper(dst []byte, words string) []byte {
	for i := range len(words) {
		c := words[i]
		switch {
		case c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		case c == '.':
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}
