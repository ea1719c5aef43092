package console

import (
	"net/http"
	"slices"

	"rowhook/cmd/rowhook/catalogue"
	"rowhook/cmd/rowhook/operation"
)

func (v *visit) catalogue() (*catalogue.Catalogue, error) {
	var all catalogue.Catalogue
	return &all, v.call(OpEvents, operation.None{}, &all)
}

// events is the catalogue.
func (v *visit) events() error {
	all, err := v.catalogue()
	if err != nil {
		return err
	}
	return v.ok(page{Title: v.t("Events"), Nav: "events", Template: "events", Data: all})
}

// event is one event type, of each entry that makes it.
func (v *visit) event() error {
	all, err := v.catalogue()
	if err != nil {
		return err
	}
	name := v.r.PathValue("type")
	all.Events = slices.DeleteFunc(all.Events, func(e catalogue.Event) bool { return e.Type != name })
	if len(all.Events) == 0 {
		return &pageError{Status: http.StatusNotFound, Text: v.t("The mapping makes no event %s.", name), Remedy: v.t("The catalogue has all that it makes.")}
	}
	return v.ok(page{Title: name, Nav: "events", Template: "event", Data: all})
}
