package config

import (
	"fmt"
	"slices"

	"rowhook/capture"
	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/mapping"
)

// ConditionFindings are conditions of subscriptions on columns that none of their tables has.
func (c *Config) ConditionFindings(tables []*capture.Table) []capture.Finding {
	var found []capture.Finding
	for i := range c.Profiles {
		p := &c.Profiles[i]
		for j := range p.Subscriptions {
			about, complete := c.subscriptionTables(&p.Subscriptions[j], tables)
			if !complete {
				continue
			}
			for _, condition := range p.Subscriptions[j].Where {
				if text, remedy := conditionProblem(&condition, about); text != "" {
					found = append(found, c.Finding("subscription_where", fmt.Sprintf("profile %s: %s", p.Code, text), remedy,
						"profiles", p.Code, "subscriptions", fmt.Sprint(j), "where", condition.Column))
				}
			}
		}
	}
	return found
}

// conditionProblem says why a condition can never hold on any of the tables: none has the column,
// or none ever holds the value.
func conditionProblem(condition *delivery.Condition, tables []*capture.Table) (text, remedy string) {
	var types []*capture.Type
	var names []string
	for _, table := range tables {
		for i := range table.Columns {
			names = append(names, table.Columns[i].Name)
			if table.Columns[i].Name == condition.Column {
				types = append(types, table.Columns[i].Type)
			}
		}
	}
	if len(types) == 0 {
		return fmt.Sprintf("no table of the subscription has a column %q%s", condition.Column, spelling.DidYouMean(condition.Column, names)),
			"name a column of the table; excluded columns count too"
	}
	for _, v := range condition.Values {
		never := func(t *capture.Type) bool { text, _ := mapping.NeverHolds(t, v); return text != "" }
		if slices.ContainsFunc(types, func(t *capture.Type) bool { return !never(t) }) {
			continue
		}
		text, remedy := mapping.NeverHolds(types[0], v)
		return fmt.Sprintf("condition on column %q: %s", condition.Column, text), remedy
	}
	return "", ""
}

// subscriptionTables are the tables whose rows a subscription's conditions look at. They are not
// complete where signals, whose members nobody declares, or unknown tables are among its events.
func (c *Config) subscriptionTables(s *delivery.SubscriptionConfig, tables []*capture.Table) (about []*capture.Table, complete bool) {
	selects := func(globs []string, name string) bool {
		return len(globs) == 0 || slices.ContainsFunc(globs, func(glob string) bool { return delivery.MatchGlob(glob, name) })
	}
	complete = true
	for _, event := range c.Rules().Events() {
		if !selects(s.Events, event.Type) || !selects(s.Tables, event.Entry) {
			continue
		}
		known := false
		for _, table := range tables {
			if event.Table != "" && delivery.MatchGlob(event.Table, table.String()) {
				known = true
				about = append(about, c.Rules().Seen(event.Entry, table, tables))
			}
		}
		complete = complete && known
	}
	return about, complete
}
