package console

import (
	"net/http"
	"net/url"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

func (v *visit) profileList() ([]operation.ProfileListing, error) {
	var list []operation.ProfileListing
	return list, v.call("profile/list", operation.None{}, &list)
}

// profiles lists them.
func (v *visit) profiles() error {
	list, err := v.profileList()
	if err != nil {
		return err
	}
	return v.ok(page{Title: v.t("Profiles"), Nav: "profiles", Template: "profiles", Live: "profiles", Data: list})
}

// profileData is one profile and what was done to it.
type profileData struct {
	operation.ProfileListing
	History []operation.AuditLine
}

// profile shows one.
func (v *visit) profile() error {
	code := v.r.PathValue("code")
	data, err := v.profileData(code)
	if err != nil {
		return err
	}
	return v.ok(page{Title: v.t("Profile %s", code), Nav: "profiles", Template: "profile", Data: data})
}

func (v *visit) profileData(code string) (*profileData, error) {
	list, err := v.profileList()
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Profile != code {
			continue
		}
		var past AuditPage
		err := v.call(OpAudit, AuditQuery{Profile: code, Most: 20}, &past)
		return &profileData{list[i], past.Lines}, err
	}
	return nil, &pageError{Status: http.StatusNotFound, Text: v.t("There is no profile %s.", code), Remedy: v.t("The list of profiles has them all.")}
}

// profileAct does what a button on a profile's page says.
func (v *visit) profileAct() error {
	code, act := v.r.PathValue("code"), v.r.PathValue("act")
	if _, err := v.profileData(code); err != nil {
		return err
	}
	var err error
	switch act {
	case "pause":
		var answer operation.StateAnswer
		if err = v.call("profile/pause", operation.ResumeRequest{User: v.user(), Profile: code}, &answer); err == nil {
			v.say("ok", v.t("%s is paused. Its events are held.", code))
		}
	case "resume":
		err = v.resume(code, engine.ResumeHeld)
	case "resume-now":
		if v.r.PostFormValue("confirmed") == "" {
			which, err := v.heldOf(code)
			if err != nil {
				return err
			}
			return v.confirm(confirmation{
				Which: which,
				Title: v.t("Resume %s without what was held", code), Nav: "profiles", Act: v.r.URL.Path, Do: v.t("Resume and skip"), Back: "/profiles/" + url.PathEscape(code),
				Text: v.t("The events that were held for %s while it was paused are skipped. They are not sent later, and not kept as dead letters.", code),
			})
		}
		err = v.resume(code, engine.ResumeNow)
	case "activate", "test":
		err = v.askEndpoint(code, act)
	case "retry":
		var answer []engine.Hastened
		if err = v.call("queue/retry-all", operation.DeliveryRequest{User: v.user(), Profile: code}, &answer); err == nil {
			v.sayHastened(code, answer)
		}
	default:
		return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}
	if err != nil {
		return err
	}
	v.glance.forget()
	return v.redirect("/profiles/" + url.PathEscape(code))
}

// heldOf says how much a profile holds.
func (v *visit) heldOf(code string) ([]string, error) {
	v.glance.forget()
	s, err := v.status(v.r.Context())
	if err != nil {
		return nil, err
	}
	for i := range s.Profiles {
		if s.Profiles[i].Profile == code {
			return []string{v.t("Events that are held: %s", writeNumber(s.Profiles[i].BacklogEvents))}, nil
		}
	}
	return nil, nil
}

func (v *visit) resume(code, from string) error {
	var answer operation.StateAnswer
	if err := v.call("profile/resume", operation.ResumeRequest{User: v.user(), Profile: code, From: from}, &answer); err != nil {
		return err
	}
	if answer.State == "active" {
		v.say("ok", v.t("%s is active again.", code))
	} else {
		v.say("warn", v.t("%s is not paused any more, but %s.", code, v.pages.words(v.lang).word(answer.State)))
	}
	return nil
}

func (v *visit) sayHastened(code string, answer []engine.Hastened) {
	if len(answer) == 0 {
		v.say("ok", v.t("Nothing waits for another try at %s.", code))
	}
	for _, h := range answer {
		v.say("ok", v.t("%s: deliveries tried now: %d", h.Profile, h.Retries))
	}
}

// askEndpoint sends a challenge or a test event, and tells the answer.
func (v *visit) askEndpoint(code, act string) error {
	var answer operation.EndpointAnswer
	if err := v.call("profile/"+act, operation.DeliveryRequest{User: v.user(), Profile: code}, &answer); err != nil {
		return err
	}
	state := v.pages.words(v.lang).word(answer.State)
	switch {
	case answer.OK && !answer.Asked:
		v.say("ok", v.t("%s is %s.", code, state))
	case answer.OK:
		v.say("ok", v.t("%s answered %d in %.0f ms, and is %s.", code, answer.Status, answer.DurationMS, state), "", answer.Response)
	case answer.Status > 0:
		v.say("bad", v.t("%s answered %d, which does not mean delivered. It is %s.", code, answer.Status, state), answer.Error, answer.Response)
	default:
		v.say("bad", v.t("%s did not answer. It is %s.", code, state), answer.Error)
	}
	return nil
}

// confirmation is what is asked before something destructive.
type confirmation struct {
	Title, Nav string
	Text       string
	Which      []string // what it is about, as far as it is shown
	More       bool     // there are more
	Act        string   // where the form goes
	Fields     url.Values
	Do, Back   string
}

// confirm asks whether it is meant.
func (v *visit) confirm(about confirmation) error {
	return v.ok(page{Title: about.Title, Nav: about.Nav, Template: "confirm", Data: about})
}
