package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"rowhook/capture"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
)

// What `profile activate --url` gave to profiles in a sandbox is kept in the state directory, for
// one environment. Until the database has been asked where this is, deliveries wait (see
// [Agent.connected]).

// metaSandbox is the spool's small value with what was given by hand in a sandbox.
const metaSandbox = "sandbox"

// givenHere is that value: it holds for one environment, and not for a copy of the state directory.
type givenHere struct {
	Identity operation.Identity                `json:"identity"`
	Profiles map[string]delivery.SandboxConfig `json:"profiles"`
}

// arrive takes note of where the agent is: the profiles use what they have there.
func (w *workspace) arrive(found operation.Identity, sandbox bool) error {
	if sandbox {
		if err := w.recallGiven(found); err != nil {
			return err
		}
	}
	if was := w.here.Enter(sandbox); was != sandbox || sandbox {
		w.logger.Info("environment", "is", w.here.String())
	}
	w.engine.Reconsider()
	return nil
}

// recallGiven puts in place what was given by hand in this environment before, and takes away what
// was given in another.
func (w *workspace) recallGiven(found operation.Identity) error {
	given, err := w.given(found)
	if err != nil {
		return err
	}
	for i := range w.config().Profiles {
		code := w.config().Profiles[i].Code
		own, byHand := given.Profiles[code]
		if !byHand {
			own = w.config().Profiles[i].Sandbox
		}
		if err := w.useInSandbox(code, own, byHand); err != nil {
			w.logger.Warn("the URL that was given for a profile in this sandbox cannot be used", "profile", code, "err", err,
				"remedy", "rowhook profile activate "+code+" --url URL")
		}
	}
	return nil
}

// given reads what was given by hand here; what was given elsewhere, before the state directory was
// copied, is left out.
func (w *workspace) given(found operation.Identity) (givenHere, error) {
	given := givenHere{Identity: found, Profiles: map[string]delivery.SandboxConfig{}}
	raw, err := w.spool.Meta(metaSandbox)
	if err != nil || raw == nil {
		return given, err
	}
	var kept givenHere
	if err := json.Unmarshal(raw, &kept); err != nil {
		return given, fmt.Errorf("read the sandbox's URLs: %w", err)
	}
	if kept.Identity != found || kept.Profiles == nil {
		return given, nil
	}
	return kept, nil
}

// useInSandbox has a profile use a URL and secret in a sandbox.
func (w *workspace) useInSandbox(code string, own delivery.SandboxConfig, byHand bool) error {
	return w.here.Give(w.endpoints()[code], *w.config().Profile(code), own, byHand)
}

// give keeps a URL and secret for a profile in this sandbox, and has it used at once.
func (w *workspace) give(r operation.ActivateRequest, found operation.Identity) error {
	p := w.config().Profile(r.Profile)
	switch {
	case p == nil:
		return &control.Failure{Message: fmt.Sprintf("there is no profile %q", r.Profile), Remedy: "`rowhook profile list` shows them"}
	case w.shared():
		return &control.Failure{Message: "--url is for one machine, and this is a cluster, whose machines share the profiles out", Remedy: "write the URL into the config of all machines: profiles." + r.Profile + ".sandbox.url"}
	case !w.here.Sandbox():
		return &control.Failure{Message: "--url is for sandboxes, and this is production", Remedy: "the URL belongs in the config: profiles." + r.Profile + ".url"}
	case sameURL(r.URL, p.URL):
		return &control.Failure{Message: "this is the URL that the profile has in production", Remedy: "give the URL of a receiver of the sandbox's own"}
	}
	given, err := w.given(found)
	if err != nil {
		return err
	}
	_, before := w.endpoints()[r.Profile].Describe()
	own := delivery.SandboxConfig{URL: r.URL, Secret: r.Secret}
	if err := w.useInSandbox(r.Profile, own, true); err != nil {
		return &control.Failure{Message: err.Error(), Remedy: capture.Remedy(err)}
	}
	given.Profiles[r.Profile] = own
	raw, err := json.Marshal(given)
	if err != nil {
		return fmt.Errorf("encode the sandbox's URLs: %w", err)
	}
	if err := w.spool.SetMeta(metaSandbox, raw); err != nil {
		return fmt.Errorf("keep the sandbox's URL: %w", err)
	}
	w.engine.Reconsider()
	_, after := w.endpoints()[r.Profile].Describe()
	return w.audit.append(operation.AuditLine{User: r.User, Command: "profile activate --url", Profile: r.Profile, Key: "url", Old: before, New: after})
}

// sameURL reports whether two URLs lead to the same place.
func sameURL(a, b string) bool {
	trim := func(s string) string { return strings.TrimRight(strings.ToLower(s), "/") }
	return trim(a) == trim(b)
}
