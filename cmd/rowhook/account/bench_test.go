package account

import (
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// BenchmarkMapped maps one change with and without an account, by what the change is worth:
// "unwanted op" is one that no rule is for, the cheapest there is. "kept" writes every change down,
// "full" has its budget used up, as under load, where all but Options.Rate a second are.
func BenchmarkMapped(b *testing.B) {
	rules := func(events ...mapping.EventConfig) *mapping.Rules {
		r, err := mapping.Compile(mapping.Config{{Name: "circulation.loans", Events: events}}, mapping.Options{})
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	table := loans()
	lent, ended := row("7", "ACTIVE", "SOUTH", "a"), row("7", "DONE", "SOUTH", "a")
	ends := []mapping.EventConfig{
		{Type: "loan.ended", Rules: []mapping.RuleConfig{{Becomes: where("status", "DONE")}}},
		{Type: "loan.moved", Rules: []mapping.RuleConfig{{Op: []string{"update"}, Where: where("branch", "NORTH")}}},
	}
	for _, c := range []struct {
		name   string
		rules  *mapping.Rules
		change capture.Change
	}{
		{"unwanted op", rules(mapping.EventConfig{Type: "loan.created", Rules: []mapping.RuleConfig{{Op: []string{"insert"}}}}),
			capture.Change{Op: capture.Update, Table: table, Old: lent, New: ended}},
		{"no rule holds", rules(ends...), capture.Change{Op: capture.Update, Table: table, Old: lent, New: lent}},
		{"an event", rules(ends...), capture.Change{Op: capture.Update, Table: table, Old: lent, New: ended}},
	} {
		for _, mode := range []string{"off", "kept", "full"} {
			b.Run(c.name+"/"+mode, func(b *testing.B) {
				out := &benchOutput{router: delivery.NewRouter([]delivery.Target{{ID: 1}})}
				m := c.rules.NewMapper(out, mapping.Identity{Source: "library", Lineage: "7"})
				tx := capture.Transaction{ID: "745", Position: "0/16B3748", Time: began, Identity: "0/16B3748 745"}
				if mode != "off" {
					o := Options{Dir: b.TempDir(), MaxSize: 32 << 20, Values: true, Rate: 1 << 40, Burst: 1 << 40}
					if mode == "full" {
						o.Rate, o.Burst = 1, 1
					}
					account, err := Open(o)
					if err != nil {
						b.Fatal(err)
					}
					defer account.Close()
					account.Begin(&tx)
					out.account = account
					m.Watch(out)
				}
				m.Begin(&tx)
				b.ReportAllocs()
				for b.Loop() {
					if err := m.Change(&c.change); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// benchOutput drops events, once the account has them.
type benchOutput struct {
	router  *delivery.Router
	account *Account
	to      []delivery.ProfileID
	answers []delivery.Matching
}

func (o *benchOutput) Watch(e *mapping.Watched) mapping.Observer {
	return o.account.Watch(e, func(string) ([]string, []bool) { return []string{"desk"}, []bool{false} })
}

func (o *benchOutput) Event(ev *delivery.Event, row delivery.Row) error {
	o.to, _ = o.router.Match(ev, row, o.to[:0], nil)
	if o.account != nil && o.account.Wants() {
		o.answers = o.router.Explain(ev, row, o.answers[:0])
		o.account.Routed(ev, o.answers)
	}
	return nil
}

func (o *benchOutput) Fail(*mapping.Failure) error { return nil }
func (o *benchOutput) Notice(mapping.Notice)       {}
