package console

import (
	"strings"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
)

// configData is the config in force, and what is to be said of a pasted one.
type configData struct {
	ConfigInForce
	Reload  *operation.ReloadStatus
	Pasted  string
	Checked *ConfigFindings
}

func (v *visit) configData() (*configData, error) {
	data := &configData{}
	if err := v.call(OpConfig, operation.None{}, &data.ConfigInForce); err != nil {
		return nil, err
	}
	s, err := v.status(v.r.Context())
	if err != nil {
		return nil, err
	}
	data.Reload = s.Reload
	return data, nil
}

// config shows the config in force.
func (v *visit) config() error {
	data, err := v.configData()
	if err != nil {
		return err
	}
	return v.ok(page{Title: v.t("Config"), Nav: "config", Template: "config", Data: data})
}

// checkConfig looks at a pasted config. Nothing of it is kept.
func (v *visit) checkConfig() error {
	data, err := v.configData()
	if err != nil {
		return err
	}
	data.Pasted = plainLines(v.r.PostFormValue("config"))
	data.Checked = &ConfigFindings{}
	leave, err := v.checks.take(v.r.Context(), patience/2)
	if err != nil {
		return err
	}
	defer leave()
	if err := v.call(OpConfigCheck, ConfigText{Text: data.Pasted}, data.Checked); err != nil {
		return err
	}
	return v.ok(page{Title: v.t("Config"), Nav: "config", Template: "config", Data: data})
}

// reload reads the config file again.
func (v *visit) reload() error {
	var came operation.ReloadStatus
	err := v.call("reload", operation.ReloadRequest{User: v.user(), By: operation.ReloadByCommand}, &came)
	v.glance.forget()
	v.kept.forget()
	switch {
	case err != nil:
		v.say("bad", v.t("The config could not be reloaded. The one before stays in force."), capture.Remedy(err), err.Error())
	case len(came.Findings) > 0:
		v.say("warn", v.t("The config was reloaded, and does not fit the database everywhere."), came.Findings[0].Remedy, came.Findings[0].Text)
	case len(came.Restart) > 0:
		v.say("warn", v.t("The config was reloaded. A restart is needed for: %s", strings.Join(came.Restart, ", ")))
	default:
		v.say("ok", v.t("The config was reloaded."))
	}
	return v.redirect("/config")
}
