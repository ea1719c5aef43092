package mapping

import (
	"errors"
	"fmt"
	"slices"
)

// field is one member of a payload's shape: a column, a constant, an expression, or more members.
type field struct {
	name     string
	path     path
	column   string
	constant []byte // JSON
	expr     *expression
	members  []*field
	convert  *converter
	items    []*field // what each element becomes, where nothing else converts the list
}

// The keys that make a map an operator, and those that may stand beside them.
var (
	operatorKeys = []string{"column", "const", "expr"}
	optionKeys   = []string{"type", "format", "zone", "items"}
	laterKeys    = []string{"lookup", "parts"}
)

func compileFields(cfg []FieldConfig, at path, aliases []string) ([]*field, error) {
	var fields []*field
	var errs []error
	for i := range cfg {
		f, err := compileField(&cfg[i], at.at(cfg[i].Name), aliases)
		fields = append(fields, f)
		errs = append(errs, err)
	}
	return fields, errors.Join(errs...)
}

func compileField(cfg *FieldConfig, at path, aliases []string) (*field, error) {
	f := &field{name: cfg.Name, path: at}
	switch {
	case len(cfg.Members) > 0 && isOperator(cfg.Members):
		return f, f.compileOperator(cfg.Members, aliases)
	case len(cfg.Members) > 0:
		var err error
		f.members, err = compileFields(cfg.Members, at, aliases)
		return f, err
	case cfg.Value.Null || cfg.Value.Text == "":
		return f, at.err("the member has no content", "name a column, or write {const: null} for NULL")
	}
	f.column = cfg.Value.Text
	return f, nil
}

// isOperator: a map with column, const or expr, whose value is a scalar.
func isOperator(members []FieldConfig) bool {
	return slices.ContainsFunc(members, func(m FieldConfig) bool {
		return m.Members == nil && slices.Contains(operatorKeys, m.Name) || slices.Contains(laterKeys, m.Name)
	})
}

func (f *field) compileOperator(members []FieldConfig, aliases []string) error {
	values := map[string]*FieldConfig{}
	operators := 0
	for i := range members {
		m := &members[i]
		switch at := f.path.at(m.Name); {
		case slices.Contains(laterKeys, m.Name):
			return at.err(m.Name+" is not in this version", "")
		case m.Members != nil && m.Name != "items":
			return at.err(m.Name+" takes a plain value here", "")
		case slices.Contains(operatorKeys, m.Name):
			operators++
		case !slices.Contains(optionKeys, m.Name):
			return at.err(fmt.Sprintf("unknown key %q beside column, const or expr", m.Name), didYouMean(m.Name, optionKeys))
		}
		values[m.Name] = m
	}
	if operators != 1 {
		return f.path.err("a member is one of column, const and expr", "")
	}
	var err error
	if f.convert, err = newConverter(scalarOf(values["type"]), scalarOf(values["format"]), scalarOf(values["zone"]), f.path); err != nil {
		return err
	}
	if items := values["items"]; items != nil {
		if values["column"] == nil {
			return f.path.at("items").err("items goes with column", "")
		}
		if typ := scalarOf(values["type"]); typ != "" && typ != "list" && typ != "json" {
			return f.path.at("items").err("items goes with type list or json", "")
		}
		if err := f.compileItems(items); err != nil {
			return err
		}
	}
	switch {
	case values["column"] != nil:
		if f.column = scalarOf(values["column"]); f.column == "" {
			return f.path.at("column").err("the column's name is empty", "")
		}
	case values["expr"] != nil:
		if f.expr, err = compileExpression(scalarOf(values["expr"]), false, aliases...); err != nil {
			return f.path.at("expr").err(err.Error(), "")
		}
	default:
		return f.compileConstant(values["const"])
	}
	return nil
}

func scalarOf(cfg *FieldConfig) string {
	if cfg == nil {
		return ""
	}
	return cfg.Value.Text
}

// compileConstant takes numbers, true, false and null for what they are, and anything else or
// in quotes for text, unless type says otherwise.
func (f *field) compileConstant(cfg *FieldConfig) error {
	if cfg.Value.Null {
		f.constant = []byte("null")
		return nil
	}
	text := cfg.Value.Text
	f.constant = appendString(nil, text)
	if f.convert == nil {
		if !cfg.Value.Quoted && (text == "true" || text == "false" || isJSONNumber([]byte(text))) {
			f.constant = []byte(text)
		}
		return nil
	}
	converted, ok := f.convert.value(f.constant)
	if !ok {
		return f.path.at("const").err(fmt.Sprintf("%q does not fit its type", text), "")
	}
	f.constant, f.convert = converted, nil
	return nil
}
