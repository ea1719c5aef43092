package agent

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// listProfiles tells of each profile what it is and how it stands.
func (w *workspace) listProfiles() ([]operation.ProfileListing, error) {
	statuses, err := w.engine.Status()
	if err != nil {
		return nil, err
	}
	return w.listings(statuses), nil
}

// listings adds to how profiles stand what they are.
func (w *workspace) listings(statuses []delivery.ProfileStatus) []operation.ProfileListing {
	list := make([]operation.ProfileListing, 0, len(statuses))
	for _, status := range statuses {
		l := operation.ProfileListing{ProfileStatus: status, Subscriptions: []string{}}
		if p := w.config().Profile(status.Profile); p != nil {
			l.Description, l.Format, l.MessageType, l.Unit = p.Description, p.Format, p.MessageType, p.Unit
			for _, one := range p.Subscriptions {
				l.Subscriptions = append(l.Subscriptions, describeSubscription(one))
			}
			l.Host = w.hostOf(p.Code)
		}
		list = append(list, l)
	}
	return list
}

// hostOf is the host that a profile's requests go to in this environment; empty for nowhere.
func (w *workspace) hostOf(code string) string {
	_, shown := w.endpoints()[code].Describe()
	u, err := url.Parse(shown)
	if err != nil {
		return ""
	}
	return u.Host
}

// describeSubscription puts a subscription into words: events by tables where conditions hold.
// Values of conditions are left out.
func describeSubscription(s delivery.SubscriptionConfig) string {
	text := "all events"
	if len(s.Events) > 0 {
		text = strings.Join(s.Events, " ")
	}
	if len(s.Tables) > 0 {
		text += " of " + strings.Join(s.Tables, " ")
	}
	if len(s.Where) > 0 {
		var columns []string
		for _, c := range s.Where {
			columns = append(columns, c.Column)
		}
		text += " by " + strings.Join(columns, " ")
	}
	if o := s.Operations; len(o.Only) > 0 {
		text += " in " + strings.Join(o.Only, " ")
	} else if len(o.Not) > 0 {
		text += " not in " + strings.Join(o.Not, " ")
	}
	return text
}

func (w *workspace) answer(profile string, reply delivery.Reply) (operation.EndpointAnswer, error) {
	state, err := w.engine.State(profile)
	return operation.EndpointAnswer{
		Profile: profile, OK: reply.Class == delivery.ClassOK, Asked: !reply.Started.IsZero(), State: state,
		Status: reply.Status, DurationMS: float64(reply.Duration.Round(time.Microsecond)) / float64(time.Millisecond),
		Reason: reply.Reason, Error: reply.Error, Response: string(reply.Response),
	}, err
}

// activate sends a profile's challenge and makes it active when the endpoint agrees.
func (w *workspace) activate(ctx context.Context, r operation.ActivateRequest, found operation.Identity) (operation.EndpointAnswer, error) {
	if r.URL != "" {
		if err := w.give(r, found); err != nil {
			return operation.EndpointAnswer{}, err
		}
	}
	before, err := w.engine.State(r.Profile)
	if err != nil {
		return operation.EndpointAnswer{}, err
	}
	reply, err := w.engine.Activate(ctx, r.Profile)
	if err != nil {
		return operation.EndpointAnswer{}, err
	}
	answer, err := w.answer(r.Profile, reply)
	if err != nil {
		return answer, err
	}
	line := operation.AuditLine{User: r.User, Command: "profile activate", Profile: r.Profile, Key: "state", Old: before, New: answer.State}
	if !answer.OK {
		line.Key, line.Old, line.New = "challenge", "", answer.Reason
	}
	return answer, w.audit.append(line)
}

// test sends a profile a test event.
func (w *workspace) test(ctx context.Context, r operation.DeliveryRequest) (operation.EndpointAnswer, error) {
	event := &delivery.Event{
		Making: &delivery.Making{Type: "rowhook.test", Source: w.config().Source.Name, Op: "signal"},
		Commit: &delivery.Commit{Time: time.Now().UTC()},
		ID:     "test_" + strings.ToLower(rand.Text()), Key: []byte("{}"), Data: []byte(`{"message":"This is a test event of rowhook."}`),
	}
	reply, err := w.engine.Test(ctx, r.Profile, event)
	if err != nil {
		return operation.EndpointAnswer{}, err
	}
	answer, err := w.answer(r.Profile, reply)
	if err != nil {
		return answer, err
	}
	answer.Event = event.ID
	outcome := "delivered"
	if !answer.OK {
		outcome = answer.Reason
	}
	return answer, w.audit.append(operation.AuditLine{User: r.User, Command: "profile test", Profile: r.Profile, Key: event.ID, New: outcome})
}

// whereabouts finds out where this is when no agent has: what is sent by hand is held to the same
// rule. The database has to be the one that the state directory is pinned to.
func (w *workspace) whereabouts(ctx context.Context) (operation.Identity, error) {
	source, err := w.options.Source(w.config(), w.logger, "commands")
	if err != nil {
		return operation.Identity{}, err
	}
	defer source.Close()
	server, err := source.Identify(ctx)
	if err != nil {
		return operation.Identity{}, &capture.OperatorError{Err: err, Remedy: "without a running agent, the database has to say where this is before anything is sent"}
	}
	found := operation.Identity{Lineage: server.Lineage, Hosts: source.Hosts(), Machine: w.machine()}
	pinned, known, err := loadIdentity(w.spool)
	if err != nil {
		return operation.Identity{}, err
	}
	if diffs := w.differences(pinned, found); known && len(diffs) > 0 {
		return operation.Identity{}, &control.Failure{Message: describeDifferences(diffs), Remedy: adoptRemedy}
	}
	return found, w.arrive(found, w.config().Sandboxed(&server))
}

// failed hands a failure on to those who are told by mail. Commands without an agent tell nobody.
func (w *workspace) failed(f delivery.Failure) { w.mailer.Failed(f) }

// states is how the profiles stand, for mails; what only status shows may be missing.
func (w *workspace) states() ([]delivery.ProfileStatus, error) { return w.engine.Status() }

// stateChanged writes the audit line of a change that the agent made by itself.
func (w *workspace) stateChanged(c engine.StateChange) {
	line := operation.AuditLine{User: directories.User(), Command: "run", Profile: c.Profile, Key: "state", Old: c.Old, New: c.New, Reason: c.Reason}
	if err := w.audit.append(line); err != nil {
		w.logger.Error("a change of state is not in the audit log", "profile", c.Profile, "state", c.New, "err", err)
	}
}

// auditedState does what changes a profile's state, and writes its audit line.
func (w *workspace) auditedState(user, command, profile string, do func() error) (operation.StateAnswer, error) {
	before, err := w.engine.State(profile)
	if err != nil {
		return operation.StateAnswer{}, err
	}
	if err := do(); err != nil {
		return operation.StateAnswer{}, err
	}
	after, err := w.engine.State(profile)
	if err != nil {
		return operation.StateAnswer{}, err
	}
	answer := operation.StateAnswer{Profile: profile, State: after}
	return answer, w.audit.append(operation.AuditLine{User: user, Command: command, Profile: profile, Key: "state", Old: before, New: after})
}
