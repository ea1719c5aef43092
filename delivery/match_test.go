package delivery

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatchGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		glob, name string
		want       bool
	}{
		{"loan.returned", "loan.returned", true},
		{"loan.*", "loan.returned", true},
		{"*", "loan.returned", true},
		{"*", "", true},
		{"*.returned", "loan.returned", true},
		{"l*n.*ed", "loan.returned", true},
		{"loan.*", "loan", false},
		{"loan", "loan.returned", false},
		{"loan.?eturned", "loan.returned", true},
		{"?", "", false},
		{"*a*b", "aab", true},
		{"a**b", "ab", true},
		{"", "a", false},
	} {
		if got := MatchGlob(tt.glob, tt.name); got != tt.want {
			t.Errorf("MatchGlob(%q, %q) = %v", tt.glob, tt.name, got)
		}
	}
}

func FuzzMatchGlob(f *testing.F) {
	f.Add("loan.*", "loan.returned")
	f.Add("*a*?b*", "xaaxb")
	f.Fuzz(func(t *testing.T, glob, name string) {
		pattern := strings.NewReplacer(`\*`, `(?s:.*)`, `\?`, `(?s:.)`).Replace(regexp.QuoteMeta(glob))
		re, err := regexp.Compile("^" + pattern + "$")
		if err != nil || len(name) > 200 || !isASCII(glob+name) {
			return // not comparable with a regular expression
		}
		if got, want := MatchGlob(glob, name), re.MatchString(name); got != want && !strings.HasSuffix(name, "\n") {
			t.Errorf("MatchGlob(%q, %q) = %v, the expression says %v", glob, name, got, want)
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// row is a [Row] of text columns; a missing one is absent, "?" is unknown.
type row map[string]string

func (r row) Column(name string) (string, Known, Sense, bool) {
	text, ok := r[name]
	if text == "?" {
		return "", ValueUnknown, SenseText, ok
	}
	return text, ValuePresent, SenseText, ok
}

func TestRouterMatch(t *testing.T) {
	t.Parallel()
	where := func(column, value string) Where {
		return Where{{Column: column, Values: []Literal{{Text: value}}}}
	}
	subscriptions := map[string][]SubscriptionConfig{
		"all":    nil,
		"loans":  {{Events: []string{"loan.*"}}},
		"table":  {{Tables: []string{"circulation.*"}}},
		"branch": {{Events: []string{"loan.*"}, Where: where("branch", "MAIN")}},
		"either": {{Where: where("branch", "MAIN")}, {Where: where("kind", "BOOK")}},
		"only":   {{Operations: OperationsConfig{Only: []string{"web_*"}}}},
		"not":    {{Operations: OperationsConfig{Not: []string{"web_*"}}}},
	}
	names := []string{"all", "loans", "table", "branch", "either", "only", "not"}
	var targets []Target
	for i, name := range names {
		targets = append(targets, Target{ProfileID(i), CompileSubscriptions(subscriptions[name])})
	}
	router := NewRouter(targets)
	for _, tt := range []struct {
		name            string
		event           Event
		row             Row
		want, undecided string
		others          string // profiles that name the event and do not get it, with the column that decided
	}{
		{"plain", Event{Making: &Making{Type: "loan.returned", Entry: "circulation.loans"}, Commit: &Commit{}}, row{"branch": "EAST", "kind": "CD"}, "all loans table not", "", "branch:branch either:branch only:"},
		{"again, from the cache", Event{Making: &Making{Type: "loan.returned", Entry: "circulation.loans"}, Commit: &Commit{}}, row{"branch": "MAIN", "kind": "CD"}, "all loans table branch either not", "", "only:"},
		{"second subscription", Event{Making: &Making{Type: "item.lost", Entry: "catalog.items"}, Commit: &Commit{}}, row{"branch": "EAST", "kind": "BOOK"}, "all either not", "", "only:"},
		{"unknown column", Event{Making: &Making{Type: "loan.lost", Entry: "x"}, Commit: &Commit{}}, row{"branch": "?", "kind": "CD"}, "all loans not", "branch either", "branch:branch either:branch only:"},
		{"unknown, but another holds", Event{Making: &Making{Type: "loan.lost", Entry: "x"}, Commit: &Commit{}}, row{"branch": "?", "kind": "BOOK"}, "all loans either not", "branch", "branch:branch only:"},
		{"known operation", Event{Making: &Making{Type: "a"}, Commit: &Commit{Operation: "web_form"}}, row{}, "all only", "", "either:branch not:"},
		{"other operation", Event{Making: &Making{Type: "a"}, Commit: &Commit{Operation: "desk"}}, row{}, "all not", "", "either:branch only:"},
		{"assumed operation", Event{Making: &Making{Type: "a"}, Commit: &Commit{Operation: "web_form", Assumed: true}}, row{}, "all not", "", "either:branch only:"},
		{"no row", Event{Making: &Making{Type: "a"}, Commit: &Commit{}}, nil, "all not", "", "either: only:"},
	} {
		got, undecided := router.Match(&tt.event, tt.row, nil, nil)
		if s := codes(names, got); s != tt.want {
			t.Errorf("%s: recipients %s, want %s", tt.name, s, tt.want)
		}
		if s := codes(names, undecided); s != tt.undecided {
			t.Errorf("%s: undecidable %q, want %q", tt.name, s, tt.undecided)
		}
		named := router.Named(tt.event.Type, tt.event.Entry, nil)
		var others []string
		for i, m := range router.Explain(&tt.event, tt.row, nil) {
			want := False
			if slices.Contains(got, m.ID) {
				want = True
			} else if slices.Contains(undecided, m.ID) {
				want = Undecidable
			}
			if m.ID != named[i] || m.Answer != want {
				t.Errorf("%s: %s answers %d, want %d", tt.name, names[m.ID], m.Answer, want)
			}
			if m.Answer != True {
				others = append(others, names[m.ID]+":"+m.Column)
			}
		}
		if s := strings.Join(others, " "); s != tt.others {
			t.Errorf("%s: others %q, want %q", tt.name, s, tt.others)
		}
	}
	if !targets[1].Subscriptions.Names("loan.lost", "x") || targets[1].Subscriptions.Names("item.lost", "x") {
		t.Error("Subscribes does not follow the globs")
	}
}

// anyRow draws what is known of a column.
type anyRow map[string]seenColumn

func (r anyRow) Column(name string) (string, Known, Sense, bool) {
	c := r[name]
	return c.text, c.known, c.sense, c.ok
}

// TestRouterIndex: many profiles with conditions get what each by itself would get, in their order.
func TestRouterIndex(t *testing.T) {
	t.Parallel()
	// Numbers, times and texts that are alike in some sense and not in others.
	texts := []string{"1", "10", "1e1", "10.0", "010", "-1", "ten", "TEN", "ten ", "", "2026-12-01", "2026-12-01T00:00:00Z"}
	columns := []string{"branch", "kind", "note"}
	compared := []Sense{SenseText, SenseOpaque, SenseNumber, SenseNumber, SenseTime, SensePadded, SenseFolded}
	known := []Known{ValuePresent, ValuePresent, ValuePresent, ValueNull, ValueUnknown}
	rapid.Check(t, func(t *rapid.T) {
		value := func() Literal {
			if rapid.IntRange(0, 9).Draw(t, "null") == 0 {
				return Literal{Null: true}
			}
			return Literal{Text: rapid.SampledFrom(texts).Draw(t, "value")}
		}
		var targets []Target
		for i := range rapid.IntRange(1, 40).Draw(t, "profiles") {
			var configs []SubscriptionConfig
			for range rapid.IntRange(0, 2).Draw(t, "subscriptions") {
				var c SubscriptionConfig
				for _, column := range columns[:rapid.IntRange(0, 2).Draw(t, "conditions")] {
					c.Where = append(c.Where, Condition{Column: column, Values: []Literal{value(), value()}})
				}
				if rapid.Bool().Draw(t, "by operation") {
					c.Operations.Only = []string{"web"}
				}
				configs = append(configs, c)
			}
			targets = append(targets, Target{ProfileID(i), CompileSubscriptions(configs)})
		}
		router := NewRouter(targets)
		for range 40 {
			var about Row
			if rapid.IntRange(0, 9).Draw(t, "no row") > 0 {
				r := anyRow{}
				for _, column := range columns {
					r[column] = seenColumn{
						text: rapid.SampledFrom(texts).Draw(t, "text"), known: rapid.SampledFrom(known).Draw(t, "known"),
						sense: rapid.SampledFrom(compared).Draw(t, "sense"), ok: rapid.IntRange(0, 9).Draw(t, "there") > 0,
					}
				}
				about = r
			}
			ev := &Event{Making: &Making{Type: "loan.returned"}, Commit: &Commit{Operation: rapid.SampledFrom([]string{"web", "desk"}).Draw(t, "operation")}}
			var want [2][]ProfileID
			for _, m := range router.Explain(ev, about, nil) {
				switch m.Answer {
				case True:
					want[0] = append(want[0], m.ID)
				case Undecidable:
					want[1] = append(want[1], m.ID)
				}
			}
			got, undecided := router.Match(ev, about, nil, nil)
			if !slices.Equal(got, want[0]) || !slices.Equal(undecided, want[1]) {
				t.Fatalf("%v of %v: %v and undecidable %v, want %v", about, targets, got, undecided, want)
			}
		}
	})
}

func codes(names []string, ids []ProfileID) string {
	var all []string
	for _, id := range ids {
		all = append(all, names[id])
	}
	return strings.Join(all, " ")
}

func TestRouterMatchDoesNotAllocate(t *testing.T) {
	router := NewRouter([]Target{{1, Subscriptions{{events: []string{"loan.*"}, not: []string{"web_*"}}}}})
	ev := &Event{Making: &Making{Type: "loan.returned", Entry: "circulation.loans"}, Commit: &Commit{Operation: "desk"}}
	dst := make([]ProfileID, 0, 1)
	if n := testing.AllocsPerRun(100, func() { router.Match(ev, nil, dst, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	valid := Defaults()
	if err := valid.Validate(); err != nil {
		t.Fatalf("the preset is not valid: %v", err)
	}
	for path, change := range map[string]func(*ProfileConfig){
		"order":                    func(c *ProfileConfig) { c.Order = "strict" },
		"on_full":                  func(c *ProfileConfig) { c.OnFull = "" },
		"unit":                     func(c *ProfileConfig) { c.Unit = "row" },
		"batch.max":                func(c *ProfileConfig) { c.Batch.Max = 1001 },
		"batch.wait":               func(c *ProfileConfig) { c.Batch.Wait = -1 },
		"concurrency":              func(c *ProfileConfig) { c.Concurrency = 0 },
		"share":                    func(c *ProfileConfig) { c.Share = 1.5 },
		"timeout":                  func(c *ProfileConfig) { c.Timeout = 0 },
		"max_body":                 func(c *ProfileConfig) { c.MaxBody = 0 },
		"retry.max":                func(c *ProfileConfig) { c.Retry.Max = 0 },
		"retry.initial":            func(c *ProfileConfig) { c.Retry.Initial = 0; c.Retry.Max = 1 },
		"retry.jitter":             func(c *ProfileConfig) { c.Retry.Jitter = 2 },
		"retry.multiplier":         func(c *ProfileConfig) { c.Retry.Multiplier = 0.5 },
		"retry.max_age":            func(c *ProfileConfig) { c.Retry.MaxAge = -1 },
		"retry.schedule.1":         func(c *ProfileConfig) { c.Retry.Schedule = append(c.Retry.Schedule, 1, -1) },
		"subscriptions.0.events.0": func(c *ProfileConfig) { c.Subscriptions = []SubscriptionConfig{{Events: []string{"loan.{a,b}"}}} },
		"subscriptions.0.operations.not.0": func(c *ProfileConfig) {
			c.Subscriptions = []SubscriptionConfig{{Operations: OperationsConfig{Not: []string{""}}}}
		},
		"subscriptions.0.where.branch_code": func(c *ProfileConfig) {
			c.Subscriptions = []SubscriptionConfig{{Where: Where{{Column: "branch_code"}}}}
		},
	} {
		c := Defaults()
		c.Code = "desk"
		change(&c)
		joined, ok := c.Validate().(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != 1 {
			t.Errorf("%s: %v", path, c.Validate())
			continue
		}
		found := joined.Unwrap()[0].(interface {
			error
			ConfigPath() []string
			RemedyText() string
		})
		want := append([]string{"profiles", "desk"}, strings.Split(path, ".")...)
		if got := found.ConfigPath(); !reflect.DeepEqual(got, want) || found.RemedyText() == "" {
			t.Errorf("path %v, want %v, remedy %q", got, want, found.RemedyText())
		}
	}
}

func BenchmarkRouterMatch(b *testing.B) {
	var targets []Target
	for i := range 10 {
		targets = append(targets, Target{ProfileID(i), Subscriptions{{events: []string{"loan.*", fmt.Sprintf("item.%d", i)}}}})
	}
	router := NewRouter(targets)
	ev := &Event{Making: &Making{Type: "loan.returned", Entry: "circulation.loans"}, Commit: &Commit{}}
	dst := make([]ProfileID, 0, len(targets))
	b.ReportAllocs()
	for b.Loop() {
		router.Match(ev, nil, dst, nil)
	}
}

// BenchmarkRouterWhere routes a row to the one of many profiles that wants its branch, by number.
func BenchmarkRouterWhere(b *testing.B) {
	for _, profiles := range []int{1, 7, 100, 1000} {
		b.Run(fmt.Sprint(profiles), func(b *testing.B) {
			var targets []Target
			for i := range profiles {
				where := Where{{Column: "branch", Values: []Literal{{Text: fmt.Sprint(i + 1)}}}}
				targets = append(targets, Target{ProfileID(i), Subscriptions{{events: []string{"loan.*"}, where: where}}})
			}
			router := NewRouter(targets)
			ev := &Event{Making: &Making{Type: "loan.returned", Entry: "circulation.loans"}, Commit: &Commit{}}
			row := numbers{"loan_id": "1234567", "branch": fmt.Sprint(profiles)}
			dst := make([]ProfileID, 0, len(targets))
			b.ReportAllocs()
			for b.Loop() {
				if to, _ := router.Match(ev, row, dst, nil); len(to) != 1 || int(to[0]) != profiles-1 {
					b.Fatal(to)
				}
			}
		})
	}
}

// numbers is a row of numeric columns.
type numbers map[string]string

func (n numbers) Column(name string) (text string, known Known, sense Sense, ok bool) {
	text, ok = n[name]
	return text, ValuePresent, SenseNumber, ok
}
