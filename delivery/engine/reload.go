package engine

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"rowhook/delivery"
)

// Removal says what becomes of the events that wait for a profile which is no longer in the config.
type Removal string

// The ways to remove a profile.
const (
	// Drain delivers what waits, and then forgets the profile. Without a running engine it parks.
	Drain Removal = "drain"
	// Park keeps what waits in the store, until the profile is in the config again or is dropped.
	Park Removal = "park"
	// Drop ends what waits, each with a line in the delivery log, and forgets the profile.
	Drop Removal = "drop"
)

// Reload is another set of profiles for a running engine, checked and ready. Until Apply, the
// engine works as before.
//
// A profile whose config did not change keeps its dispatcher, and with it its lanes, its
// connections and what is known of its endpoint: it notices nothing. A changed one goes on with the
// new config as soon as its requests in flight have ended: what is retried goes to the present URL
// under the present secret, with the bytes of its first attempt.
type Reload struct {
	// Added, Changed and Removed are the codes of those profiles.
	Added, Changed, Removed []string

	engine   *Engine
	profiles []*Profile
	router   *delivery.Router
	fleet    *fleet
	fresh    []*dispatcher
	changes  []change
	removals []removal
}

type change struct {
	dispatcher *dispatcher
	profile    *Profile
}

type removal struct {
	dispatcher *dispatcher
	how        Removal
}

// Prepare checks a set of profiles to take the place of the present ones. Codes are distinct.
// Removals say what becomes of profiles that are no longer among them; one for which something
// waits needs its word. A word may also be about a profile that was parked before.
//
// Calls of Prepare and Apply do not overlap.
func (e *Engine) Prepare(profiles []*Profile, removals map[string]Removal) (*Reload, error) {
	r := &Reload{engine: e, profiles: profiles}
	seen := make(map[string]bool, len(profiles))
	for _, p := range profiles {
		if seen[p.code] {
			return nil, fmt.Errorf("two profiles have the code %s", p.code)
		}
		seen[p.code] = true
	}
	if err := r.removeOthers(seen, removals); err != nil {
		return nil, err
	}
	dispatchers := make([]*dispatcher, 0, len(profiles))
	ids := make([]delivery.ProfileID, 0, len(profiles))
	for _, p := range profiles {
		d, differs := e.keep(p)
		switch {
		case d != nil && d.dropping.Load():
			return nil, &operatorError{fmt.Sprintf("what waits for profile %s is being dropped", p.code), "`rowhook status` shows when it is gone; then reload again"}
		case d == nil:
			// Last of all that can fail: what is registered keeps events from being removed.
			id, err := e.store.Register(p.code)
			if err != nil {
				return nil, fmt.Errorf("register profile %s: %w", p.code, err)
			}
			d = newDispatcher(e, p, id, 0)
			r.fresh = append(r.fresh, d)
			r.Added = append(r.Added, p.code)
		case differs:
			r.changes = append(r.changes, change{d, p})
			r.Changed = append(r.Changed, p.code)
		}
		dispatchers, ids = append(dispatchers, d), append(ids, d.store.id)
	}
	r.router = newRouter(profiles, ids)
	for _, removed := range r.removals {
		if removed.how == Drain || removed.how == Drop && e.options.Shared {
			dispatchers = append(dispatchers, removed.dispatcher)
		}
	}
	r.fleet = newFleet(dispatchers)
	return r, nil
}

// removeOthers decides what becomes of the profiles that are not kept.
func (r *Reload) removeOthers(kept map[string]bool, words map[string]Removal) error {
	unsaid, err := r.removeMissing(kept, words)
	if err != nil {
		return err
	}
	if len(unsaid) > 0 {
		return &operatorError{
			fmt.Sprintf("the config no longer has %s, and the spool holds deliveries or dead letters for it", strings.Join(unsaid, ", ")),
			fmt.Sprintf("say what becomes of them: rowhook reload --removed %s=drain  (deliver what waits), park (keep it), or drop (end each with a line in the delivery log)",
				strings.Join(unsaid, "=drain --removed ")),
		}
	}
	for code, how := range words {
		if err := r.removeParked(code, how, kept[code]); err != nil {
			return err
		}
	}
	slices.Sort(r.Removed)
	return nil
}

// removeMissing decides about the profiles at work that are not kept, and returns those that need a
// word and have none.
func (r *Reload) removeMissing(kept map[string]bool, words map[string]Removal) (unsaid []string, err error) {
	r.engine.life.Lock() // nobody is forgotten meanwhile
	defer r.engine.life.Unlock()
	for _, d := range r.engine.all() {
		if kept[d.code] {
			continue
		}
		waits, err := d.store.waits()
		if err != nil {
			return nil, err
		}
		how, said := words[d.code]
		switch {
		case said:
		case waits && !d.draining.Load():
			unsaid = append(unsaid, d.code)
		default:
			how = Drain // what comes until the reload takes effect is delivered
		}
		r.removals = append(r.removals, removal{d, how})
		if !d.draining.Load() || said {
			r.Removed = append(r.Removed, d.code)
		}
	}
	return unsaid, nil
}

// removeParked takes a word about a profile that may have been parked before.
func (r *Reload) removeParked(code string, how Removal, kept bool) error {
	switch {
	case kept:
		return &operatorError{fmt.Sprintf("profile %s is in the config", code), fmt.Sprintf("--removed is about profiles that are no longer there; `rowhook profile pause %s` stops deliveries", code)}
	case how != Drain && how != Park && how != Drop:
		return &operatorError{fmt.Sprintf("%q says nothing about profile %s", how, code), "write drain, park or drop"}
	case r.engine.find(code) != nil || how == Park:
		return nil
	case how == Drain:
		return &operatorError{fmt.Sprintf("profile %s is parked: nothing is known of where to deliver", code), "put it back into the config, or drop it"}
	}
	r.engine.awaitLeaving(code)
	id, err := r.engine.store.Register(code)
	if err != nil {
		return fmt.Errorf("find profile %s: %w", code, err)
	}
	nobody := &Profile{code: code, config: delivery.Defaults(), schedule: newSchedule(delivery.Defaults().Retry)}
	r.removals = append(r.removals, removal{newDispatcher(r.engine, nobody, id, 0), how})
	r.Removed = append(r.Removed, code)
	return nil
}

// Router returns the router over the new profiles.
func (r *Reload) Router() *delivery.Router { return r.router }

// Apply puts the new profiles to work. It is called once, when everything that the former router
// was asked about is in the store and nothing that the new one is asked about, and does not wait
// for requests in flight.
func (r *Reload) Apply() error { return r.ApplyAt([]delivery.Seq{r.engine.store.End() + 1}) }

// ApplyAt is Apply on a machine that shares profiles, where more may be in the store already. turns are
// the first events that came to be made by another config, ascending, the present config's last. None of
// these behind the turns that the engine has been told of may have been read yet.
func (r *Reload) ApplyAt(turns []delivery.Seq) error {
	e := r.engine
	end := turns[len(turns)-1] - 1
	e.life.Lock()
	defer e.life.Unlock()
	if e.options.Shared {
		if err := r.renew(); err != nil {
			return err
		}
	}
	// Who was being drained may have come to the end.
	r.fleet = newFleet(slices.DeleteFunc(r.fleet.dispatchers, (*dispatcher).isGone))
	r.removals = slices.DeleteFunc(r.removals, func(r removal) bool { return r.dispatcher.isGone() })
	for _, d := range r.fresh {
		// It may have been there before, ordered in another way.
		if err := d.follow(nil, turns); err != nil {
			return err
		}
	}
	for _, c := range r.changes {
		if err := c.dispatcher.follow(c.profile, turns); err != nil {
			return err
		}
	}
	e.begin.Lock()
	e.fleet.Store(newFleet(slices.DeleteFunc(r.fleet.dispatchers, (*dispatcher).isGone)))
	e.allot()
	for _, d := range r.fresh {
		if t := d.tenure.Load(); t != nil && e.running != nil {
			e.running.start(d, t)
		}
	}
	e.begin.Unlock()
	for _, removed := range r.removals {
		e.remove(removed, end)
	}
	if !e.options.Shared {
		return nil
	}
	return e.followAll(turns)
}

// Follow tells an engine that shares profiles of turns which have left its config as it is, see
// [Reload.ApplyAt].
func (e *Engine) Follow(turns []delivery.Seq) error {
	e.life.Lock()
	defer e.life.Unlock()
	return e.followAll(turns)
}

func (e *Engine) followAll(turns []delivery.Seq) error {
	for _, d := range e.all() {
		if err := d.follow(nil, turns); err != nil {
			return err
		}
	}
	return nil
}

// renew puts new dispatchers in the place of those that have come to the end of their drain since
// Prepare, on this machine or on another one: the store has forgotten their numbers.
func (r *Reload) renew() error {
	e := r.engine
	for i, p := range r.profiles {
		d := r.fleet.dispatchers[i]
		if !d.isGone() && !d.forgotten() {
			continue
		}
		id, err := e.store.Register(p.code)
		if err != nil {
			return fmt.Errorf("register profile %s: %w", p.code, err)
		}
		r.changes = slices.DeleteFunc(r.changes, func(c change) bool { return c.dispatcher == d })
		r.fresh = slices.DeleteFunc(r.fresh, func(other *dispatcher) bool { return other == d })
		r.fleet.dispatchers[i] = newDispatcher(e, p, id, 0)
		r.fresh = append(r.fresh, r.fleet.dispatchers[i])
	}
	return nil
}

// forgotten reports whether the store has forgotten the profile's number.
func (d *dispatcher) forgotten() bool {
	_, err := d.store.Progress(d.store.id)
	return err != nil
}

// remove ends the work for a profile; e.life is held.
func (e *Engine) remove(r removal, end delivery.Seq) {
	d := r.dispatcher
	switch {
	case r.how == Drain:
		d.drainUpTo(end)
	case e.options.Shared && r.how == Drop:
		e.dropOwned(d)
	case e.options.Shared && d.tenure.Load() == nil:
		d.gone.Store(true) // its owner does what is to be done
	default:
		e.retire(d, r.how)
	}
}

// retire ends a dispatcher when its requests in flight have ended; e.life is held.
func (e *Engine) retire(d *dispatcher, how Removal) {
	e.begin.Lock()
	run, at := e.running, d.stint
	if run == nil {
		e.begin.Unlock()
		_ = d.retire(how) // it has been told
		return
	}
	left := make(chan struct{})
	e.leaving[d.code] = left
	run.group.Go(func() {
		if at.stop != nil {
			at.stop()
			<-at.ended
		}
		_ = d.retire(how) // it has been told
		if e.options.Shared {
			e.forget(d)
		}
		close(left)
	})
	e.begin.Unlock()
}

// dropOwned has the owner of a profile, which this engine is or may become, end what waits.
func (e *Engine) dropOwned(d *dispatcher) {
	d.dropping.Store(true)
	e.begin.Lock()
	defer e.begin.Unlock()
	if d.stint.stop != nil && d.tenure.Load() != nil {
		d.stint.stop() // see deliver
	}
}

// forget takes a dispatcher out of those at work.
func (e *Engine) forget(d *dispatcher) {
	e.begin.Lock()
	defer e.begin.Unlock()
	d.gone.Store(true)
	if e.options.Shared {
		d.disown(d.tenure.Load())
	}
	e.fleet.Store(newFleet(slices.DeleteFunc(slices.Clone(e.all()), (*dispatcher).isGone)))
}

// Profiles returns the codes of the profiles that somebody has to own: those of the config, and
// removed ones until what waits for them is drained or dropped.
func (e *Engine) Profiles() []string {
	var codes []string
	for _, d := range e.all() {
		codes = append(codes, d.code)
	}
	return codes
}

// Retired takes note that the store has forgotten a removed profile, since its owner has drained or
// dropped it. It does not wait.
func (e *Engine) Retired(code string) {
	if d := e.find(code); d != nil && d.forgotten() {
		e.forget(d)
	}
}

// drained forgets a profile that was to be drained, and has been. It reports false when that is not so
// yet: another machine may know better.
func (e *Engine) drained(d *dispatcher, t *tenure) bool {
	e.life.Lock()
	defer e.life.Unlock()
	if d.draining.Load() {
		e.begin.Lock()
		was := e.all()
		e.fleet.Store(newFleet(slices.DeleteFunc(slices.Clone(was), func(other *dispatcher) bool { return other == d })))
		e.begin.Unlock()
		err := d.retire(Drain)
		if !e.options.Shared || !errors.Is(err, delivery.ErrNotOwner) {
			return true
		}
		e.begin.Lock()
		defer e.begin.Unlock()
		d.gone.Store(false)
		e.fleet.Store(newFleet(append(slices.Clone(e.all()), d)))
		return false
	}
	e.begin.Lock()
	defer e.begin.Unlock()
	if e.running != nil && d.tenure.Load() == t {
		e.running.start(d, t) // a reload has it back
	}
	return true
}

// retire ends a dispatcher that does not run any more.
func (d *dispatcher) retire(how Removal) (err error) {
	if how == Drop {
		err = d.dropAll()
	}
	if err == nil {
		err = d.forgetProfile()
	}
	switch {
	case errors.Is(err, delivery.ErrNotOwner): // who owns it now goes on with that
	case err != nil:
		d.logger.Error("profile could not be removed whole", "err", err)
	}
	return err
}

// forgetProfile has the store forget the profile if nothing is left of it.
func (d *dispatcher) forgetProfile() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone.Store(true)
	waits, err := d.store.waits()
	if err != nil {
		return err
	}
	if !waits {
		if err = d.store.Retire(d.code); err != nil && !errors.Is(err, delivery.ErrWaiting) {
			return err
		}
	}
	if waits || err != nil {
		d.logger.Warn("profile is no longer in the config, and what the spool holds for it stays",
			"remedy", "put it back into the config, or: rowhook reload --removed "+d.code+"=drop")
		return nil
	}
	d.logger.Info("profile is no longer in the config and is forgotten: nothing waits for it")
	return nil
}

// dropAll ends everything that waits, and every dead letter, each with a line.
func (d *dispatcher) dropAll() error {
	err := d.update(func(now time.Time) error {
		_, err := d.clearer.clear(now, delivery.OutcomeDropped, delivery.ReasonOperator, math.MaxInt64)
		return err
	})
	if err != nil {
		return err
	}
	return d.update(func(now time.Time) error {
		return d.store.each([]delivery.State{delivery.Dead}, func(r *delivery.Delivery) (bool, error) {
			ev, err := d.store.Event(d.store.id, r.Seq)
			if err != nil {
				return false, fmt.Errorf("read event of a dead letter: %w", err)
			}
			d.commands.discard(r, ev, now)
			return true, d.commits.ifDue(now)
		})
	})
}

// keep returns the dispatcher at work for a profile's code, nil when there is none, and whether the
// profile is another than the dispatcher's. One that was being drained stays. One that is being
// removed is waited for: it ends with its requests in flight.
func (e *Engine) keep(p *Profile) (d *dispatcher, differs bool) {
	if d = e.find(p.code); d == nil {
		e.awaitLeaving(p.code)
		return nil, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isGone() {
		return nil, false
	}
	differs = d.draining.Load() || !reflect.DeepEqual(&d.terms.latest().config, &p.config)
	if !e.options.Shared { // see renew
		d.draining.Store(false)
	}
	return d, differs
}

func (d *dispatcher) isGone() bool { return d.gone.Load() }

// follow takes over the order of events behind the turns, and with it another config; nil is the
// present one.
func (d *dispatcher) follow(p *Profile, turns []delivery.Seq) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.order(p, turns); err != nil || p == nil {
		return err
	}
	d.terms.coming = p
	d.draining.Store(false)
	d.share.set(p)
	if !d.crew.isOpen() {
		d.adopt(time.Now())
	}
	d.wake.notify()
	return nil
}

// order takes over the order that a profile asks for.
func (d *dispatcher) order(p *Profile, turns []delivery.Seq) error {
	d.turns = turns
	t := d.tenure.Load()
	if t == nil || d.at != nil && d.at != t {
		return nil // done when it is owned, see loadState
	}
	if err := d.loadState(t); err != nil {
		return err
	}
	if p == nil {
		p = d.terms.latest()
	}
	if !d.takeOrder(p) {
		return nil
	}
	d.commits.keep(time.Now())
	if d.engine.options.Shared { // who owns the profile next is told of the turns, too
		d.wake.notify()
		return nil
	}
	_, err := d.commits.commit() // while the delivery log cannot be written it comes later: nothing is sent meanwhile
	return err
}

// takeOrder puts barriers at the turns, and reports whether anything differs.
func (d *dispatcher) takeOrder(p *Profile) bool {
	if d.engine.options.Shared {
		return d.intake.ordering.followTurns(p, d.turns, d.intake.reader.next)
	}
	return d.intake.ordering.follow(p, d.turns[len(d.turns)-1]-1)
}

// awaitLeaving waits until a profile that is being removed has come to its end.
func (e *Engine) awaitLeaving(code string) {
	e.life.Lock()
	left := e.leaving[code]
	e.life.Unlock()
	if left != nil {
		<-left
	}
}

// drainUpTo has the dispatcher end when what waits is over.
func (d *dispatcher) drainUpTo(end delivery.Seq) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drainTo = end
	d.draining.Store(true)
	d.wake.notify()
}

// hasDrained reports whether nothing is left to be drained.
func (d *dispatcher) hasDrained() bool {
	return d.draining.Load() && d.intake.reader.next > d.drainTo && !d.intake.live() && d.active()
}

// attend loads the dispatcher's state for those who come from outside.
func (d *dispatcher) attend() error {
	if d.isGone() {
		return &operatorError{fmt.Sprintf("profile %s is no longer in the config", d.code), ""}
	}
	t := d.tenure.Load()
	if t == nil || d.at != nil && d.at != t {
		return d.notOwner() // or what it did when it was one has not ended
	}
	return d.loadState(t)
}

// adopt lets the config that is coming take over once no worker uses the one in force, and reports
// whether things may go on.
func (d *dispatcher) adopt(now time.Time) bool {
	if d.terms.coming == nil {
		return true
	}
	if d.crew.handed > 0 {
		d.crew.halt()
		return false
	}
	before := d.terms.takeOver()
	d.terms.use(d.intake.ordering.inForce(d.terms.configured))
	if d.crew.isOpen() {
		d.crew.renew()
	}
	if !before.reachesSame(d.terms.configured) {
		d.loader.pull = d.loader.pull || d.endpoint.down()
		d.endpoint.restart()
		d.commits.keep(now)
	}
	d.loader.rehold = d.loader.rehold || before.holdsKeys() != d.terms.configured.holdsKeys()
	if before.rate != d.terms.configured.rate {
		d.setPace()
	}
	return true
}

// reachesSame reports whether both profiles send in the same way to the same place, so that what is
// known of the endpoint stays true.
func (p *Profile) reachesSame(other *Profile) bool {
	what := func(c delivery.ProfileConfig) delivery.ProfileConfig {
		return delivery.ProfileConfig{
			URL: c.URL, Secret: c.Secret, Secrets: c.Secrets, Signature: c.Signature, Headers: c.Headers,
			Timeout: c.Timeout, Success: c.Success, Replies: c.Replies, AllowNetworks: c.AllowNetworks, HTTP: c.HTTP,
		}
	}
	return reflect.DeepEqual(what(p.config), what(other.config))
}
