package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// comparisonNames are the words by which other tools' configs compare, and what an expression has
// for them.
var comparisonNames = map[string]string{
	"gt": ">", ">": ">", "gte": ">=", "ge": ">=", ">=": ">=", "lt": "<", "<": "<", "lte": "<=", "le": "<=", "<=": "<=",
	"eq": "==", "in": "==", "=": "==", "==": "==",
	"ne": "!=", "neq": "!=", "not": "!=", "nin": "!=", "not_in": "!=", "!=": "!=", "<>": "!=",
	"between": "between",
}

// refuseComparison refuses a map in the place of a column's values, and shows where that comparison
// goes.
func (d *decoder) refuseComparison(n *yaml.Node) {
	d.refuse(n, "expected a value or a list of values, got a map")
	section := len(d.path) - 2
	if section > 0 && d.path[section] != "where" && d.path[section] != "becomes" {
		section-- // the map stands in a list
	}
	if section > 0 {
		inRule := slices.Contains(d.path[:section], "events")
		d.errs[len(d.errs)-1].remedy = comparisonRemedy(d.path[section], d.path[section+1], n, d.path[0] == "mapping", inRule)
	}
}

// comparisonRemedy says how to write what a map in where or becomes most likely means.
func comparisonRemedy(kind, column string, n *yaml.Node, inMapping, inRule bool) string {
	if values, ok := equalities(n); ok && plainValue.MatchString(column) {
		return fmt.Sprintf("write %s: {%s: %s}", kind, column, values)
	}
	write := "write"
	condition := func(side string) string {
		text, ok := comparison(side, column, n)
		if !ok {
			write = "write an expression such as"
			return columnOf(side, column) + " > 0"
		}
		return text
	}
	whole := ""
	if kind == "becomes" {
		whole = condition("new") + " and not (" + condition("old") + ")"
	} else {
		whole = condition("row")
	}
	place := "in the rule"
	switch {
	case !inMapping:
		kind, place = "a subscription", "in the mapping, in the rule of an event"
	case !inRule:
		place = "in the rules of the entry's events"
	}
	return fmt.Sprintf("%s takes values alone; %s if: %q %s", kind, write, whole, place)
}

// equalities is a map that only asks for equality, as where has it.
func equalities(n *yaml.Node) (values string, ok bool) {
	if len(n.Content) != 2 || comparisonNames[comparisonKey(n.Content[0])] != "==" {
		return "", false
	}
	texts := []string{}
	for _, item := range valuesOf(n.Content[1]) {
		if item.Kind != yaml.ScalarNode || !plainValue.MatchString(item.Value) {
			return "", false
		}
		texts = append(texts, item.Value)
	}
	if len(texts) == 1 {
		return texts[0], true
	}
	return "[" + strings.Join(texts, ", ") + "]", len(texts) > 0
}

// comparison is a map as an expression; ok is false where it says what no expression here does.
func comparison(side, column string, n *yaml.Node) (expression string, ok bool) {
	var parts []string
	left := columnOf(side, column)
	for i := 0; i+1 < len(n.Content); i += 2 {
		var right []string
		for _, item := range valuesOf(n.Content[i+1]) {
			text, ok := literal(item)
			if !ok {
				return "", false
			}
			right = append(right, text)
		}
		switch op := comparisonNames[comparisonKey(n.Content[i])]; {
		case op == "between" && len(right) == 2:
			parts = append(parts, left+" >= "+right[0], left+" <= "+right[1])
		case op == "!=" && len(right) > 1:
			for _, value := range right {
				parts = append(parts, left+" != "+value)
			}
		case op != "" && op != "between" && len(right) == 1:
			parts = append(parts, left+" "+op+" "+right[0])
		default:
			return "", false
		}
	}
	return strings.Join(parts, " and "), len(parts) > 0
}

// comparisonKey is a key without what some tools put before it.
func comparisonKey(key *yaml.Node) string {
	return strings.TrimLeft(strings.ToLower(key.Value), "$_")
}

func valuesOf(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return []*yaml.Node{n}
}

var (
	plainName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	plainValue = regexp.MustCompile(`^[\pL\pN_.:+ -]+$`)
)

// columnOf names a column in an expression.
func columnOf(side, column string) string {
	if plainName.MatchString(column) {
		return side + "." + column
	}
	return side + "['" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(column) + "']"
}

// literal is a scalar as an expression has it.
func literal(n *yaml.Node) (text string, ok bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", false
	case isNull(n):
		return "nil", true
	case n.ShortTag() == "!!bool":
		return n.Value, n.Value == "true" || n.Value == "false"
	case n.ShortTag() == "!!int", n.ShortTag() == "!!float":
		_, err := strconv.ParseFloat(n.Value, 64)
		return n.Value, err == nil
	}
	return "'" + n.Value + "'", plainValue.MatchString(n.Value)
}
