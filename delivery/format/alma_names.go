package format

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

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

// given returns a name that the mapping gives the event; nil with true is one that is to be left
// out.
func given(ev *delivery.Event, name string) (*string, bool) {
	if ev.As == nil {
		return nil, false
	}
	text, ok := ev.As[name]
	return text, ok
}

// renamed is the name that the profile has in a name's place.
func (a *alma) renamed(name string) string {
	if to, ok := a.names[name]; ok {
		return to
	}
	return name
}

// ownAction is the action by Alma's name: the type's first word.
func ownAction(ev *delivery.Event) string {
	if text, ok := given(ev, "action"); ok {
		return orNothing(text)
	}
	first, _, _ := strings.Cut(ev.Type, ".")
	return asConstant(first)
}

// ownEvent is the event by Alma's name: the type's words.
func ownEvent(ev *delivery.Event) string {
	if text, ok := given(ev, "event"); ok {
		return orNothing(text)
	}
	if withoutEvent[ownAction(ev)] {
		return ""
	}
	return asConstant(ev.Type)
}

// eventDesc is the event's text.
func eventDesc(ev *delivery.Event) string {
	if text, ok := given(ev, "desc"); ok {
		return orNothing(text)
	}
	event := ownEvent(ev)
	if text, ok := almaDescs[event]; ok {
		return text
	}
	// A name that is no constant, such as a letter's code, has no words to tell.
	if _, isGiven := given(ev, "event"); !isGiven || event != asConstant(event) {
		event = ev.Type
	}
	words := strings.NewReplacer(".", " ", "_", " ").Replace(event)
	first, size := utf8.DecodeRuneInString(words)
	return string(unicode.ToUpper(first)) + strings.ToLower(words[size:])
}

// almaObject is the payload member's name: the mapping's, else the action's.
func almaObject(ev *delivery.Event) string {
	if ev.Object != "" {
		return ev.Object
	}
	action := ownAction(ev)
	if object, ok := almaObjects[action]; ok {
		return object
	}
	if action == "" {
		return "data"
	}
	return strings.ToLower(action)
}

// asConstant writes a type's words in capitals, with underscores between them.
func asConstant(words string) string {
	return strings.ReplaceAll(strings.ToUpper(words), ".", "_")
}

func orNothing(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// nameFault says why canonical JSON cannot have a member of that name where it is to be; empty
// where it can.
func nameFault(name string) string {
	switch {
	case delivery.IsIndex(name):
		return "looks like an array index, which JavaScript puts before all other members"
	case name == "__proto__":
		return "is no member in JavaScript, but what an object is made of"
	}
	return ""
}

// almaObjectFault says why a profile's messages cannot have a payload of that name; empty where
// they can.
func almaObjectFault(p *delivery.ProfileConfig, object string) string {
	inXML := p.MessageType == "xml"
	for _, n := range p.Alma.Names {
		if n.Name != object {
			continue
		}
		if fault := objectFault(n.To, inXML); fault != "" {
			return fmt.Sprintf("is %q by the profile's alma.names, which %s", n.To, fault)
		}
		return ""
	}
	return objectFault(object, inXML)
}

func objectFault(object string, inXML bool) string {
	switch {
	case slices.Contains(almaMembers, object):
		return "is a member of every message already"
	case inXML:
		return ""
	}
	return nameFault(object)
}

// almaMembers are the members that all of Alma's messages have beside the payload.
var almaMembers = []string{"id", "action", "event", "institution", "time"}
