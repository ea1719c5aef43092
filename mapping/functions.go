package mapping

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"

	"rowhook/delivery"
)

// fetch gives a member of an object or an element of a list; NULL where there is none.
func (m *machine) fetch(base, key any) any {
	if isUnknown(base) || isUnknown(key) {
		return unknown{}
	}
	switch container := base.(type) {
	case nil:
		return nil
	case map[string]any:
		name, _ := textOf(key)
		return container[name]
	case []any:
		i, ok := key.(int)
		if i < 0 {
			i += len(container)
		}
		if !ok || i < 0 || i >= len(container) {
			return nil
		}
		return container[i]
	}
	return m.fail("a %s has no members", kindName(base))
}

func (c *expressionCompiler) slice(n *ast.SliceNode) (node, error) {
	base, err := c.compile(n.Node)
	if err != nil {
		return nil, err
	}
	bounds := [2]node{constant(nil), constant(nil)}
	for i, b := range [2]ast.Node{n.From, n.To} {
		if b == nil {
			continue
		}
		if bounds[i], err = c.compile(b); err != nil {
			return nil, err
		}
	}
	return func(m *machine) any { return m.cut(base(m), bounds[0](m), bounds[1](m)) }, nil
}

func (m *machine) cut(base, from, to any) any {
	if isUnknown(base) || isUnknown(from) || isUnknown(to) {
		return unknown{}
	}
	bound := func(v any, length, otherwise int) int {
		i, ok := v.(int)
		if !ok {
			return otherwise
		}
		if i < 0 {
			i += length
		}
		return min(max(i, 0), length)
	}
	switch x := plainValue(base).(type) {
	case nil:
		return nil
	case string:
		if !m.makes(cutCost(x)) {
			return unknown{}
		}
		runes := []rune(x)
		start, end := bound(from, len(runes), 0), bound(to, len(runes), len(runes))
		return madeText(string(runes[start:max(start, end)]))
	case []any:
		start, end := bound(from, len(x), 0), bound(to, len(x), len(x))
		return x[start:max(start, end)]
	}
	return m.fail("a %s cannot be cut", kindName(base))
}

// pointer is # inside a predicate.
func (c *expressionCompiler) pointer(n *ast.PointerNode) (node, error) {
	if c.inside == 0 {
		return nil, errors.New("# stands for an element only inside a predicate")
	}
	return func(m *machine) any {
		e := m.element[len(m.element)-1]
		switch n.Name {
		case "index":
			return e.index
		case "acc":
			return e.acc
		}
		return e.value
	}, nil
}

// builtin compiles a call of one of the library's functions.
func (c *expressionCompiler) builtin(n *ast.BuiltinNode) (node, error) {
	args := make([]node, len(n.Arguments))
	for i, a := range n.Arguments {
		if p, ok := a.(*ast.PredicateNode); ok {
			c.inside++
			before := c.nodes
			body, err := c.compile(p.Node)
			c.inside--
			if err != nil {
				return nil, err
			}
			args[i] = predicate(body, c.nodes-before)
			continue
		}
		var err error
		if args[i], err = c.compile(a); err != nil {
			return nil, err
		}
	}
	if n.Name == "now" {
		return c.now(args)
	}
	if walk, ok := predicates[n.Name]; ok {
		if len(args) == 1 { // sum(list), count(list): the elements themselves
			args = append(args, predicate(func(m *machine) any { return m.element[len(m.element)-1].value }, 1))
		}
		return func(m *machine) any { return walk(m, args) }, nil
	}
	if f, ok := exactFunctions[n.Name]; ok && len(args) > 0 {
		return callExact(n.Name, f, args), nil
	}
	for _, f := range builtin.Builtins {
		if f.Name == n.Name && !f.Predicate && !slices.Contains(refusedFunctions, f.Name) {
			return call(f, args), nil
		}
	}
	return nil, fmt.Errorf("function %s is not available in mapping expressions", n.Name)
}

// refusedFunctions are of no use that is worth their price.
var refusedFunctions = []string{"repeat"}

// callExact runs a function of our own.
func callExact(name string, f func([]any) (any, bool), args []node) node {
	return func(m *machine) any {
		values := make([]any, len(args))
		for i, arg := range args {
			if values[i] = plainValue(arg(m)); values[i] == nil || isUnknown(values[i]) {
				return values[i]
			}
		}
		if !m.affords(name, values) {
			return unknown{}
		}
		result, ok := f(values)
		if !ok {
			return m.fail("function %s does not take these values", name)
		}
		return result
	}
}

// now is the transaction's commit time: a change gives the same events whenever it is mapped.
func (c *expressionCompiler) now(args []node) (node, error) {
	if len(args) > 0 {
		return nil, errors.New("now takes no time zone: it is the commit time in UTC")
	}
	return func(m *machine) any { return m.e.at }, nil
}

// call runs a function of the library. NULL in gives NULL out; the library's numbers are float64.
func call(f *builtin.Function, args []node) node {
	return func(m *machine) (result any) {
		values := make([]any, len(args))
		for i, arg := range args {
			v := plainValue(arg(m))
			if isUnknown(v) || v == nil {
				return v
			}
			values[i] = v
		}
		if !m.affords(f.Name, values) {
			return unknown{}
		}
		var sense delivery.Sense
		kept := false
		if slices.Contains(elementFunctions, f.Name) {
			sense, kept = elementsSense(values)
		}
		for i, v := range values {
			values[i] = libraryValue(v)
		}
		// The library's functions panic on values of the wrong kind, and their errors quote values.
		defer func() {
			if recover() != nil {
				result = m.fail("function %s does not take these values", f.Name)
			}
		}()
		result, err := apply(f, values)
		if err != nil {
			return m.fail("function %s does not take these values", f.Name)
		}
		if kept {
			return withSense(ownValue(result), sense)
		}
		return madeText(ownValue(result))
	}
}

// elementFunctions give elements of their lists as they are.
var elementFunctions = []string{"first", "last", "get", "take", "sort", "uniq", "reverse", "concat", "flatten"}

func apply(f *builtin.Function, values []any) (any, error) {
	switch {
	case f.Fast != nil:
		if len(values) != 1 {
			return nil, errors.New("takes one argument")
		}
		return f.Fast(values[0]), nil
	case f.Safe != nil:
		v, _, err := f.Safe(values...)
		return v, err
	}
	return f.Func(values...)
}

// libraryValue turns exact numbers into what the library's functions take.
func libraryValue(v any) any {
	switch x := v.(type) {
	case sensed:
		return x.text
	case *decimal:
		return x.float()
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = libraryValue(x[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k := range x {
			out[k] = libraryValue(x[k])
		}
		return out
	}
	return v
}

// ownValue turns a result of the library, or of a method, into a value of ours.
func ownValue(v any) any {
	switch x := v.(type) {
	case nil, bool, int, string, time.Time, time.Duration, map[string]any, *time.Location:
		return v
	case float64:
		return decimalOfFloat(x).reduce()
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = ownValue(x[i])
		}
		return out
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return int(r.Int())
	case reflect.String:
		return r.String()
	case reflect.Slice:
		out := make([]any, r.Len())
		for i := range out {
			out[i] = ownValue(r.Index(i).Interface())
		}
		return out
	}
	return fmt.Sprint(v)
}

// method calls a method of a time or a duration, such as new.due_at.Weekday().
func (c *expressionCompiler) method(n *ast.CallNode) (node, error) {
	callee, ok := n.Callee.(*ast.MemberNode)
	if !ok {
		return nil, fmt.Errorf("unknown function %s", n.Callee)
	}
	name, ok := callee.Property.(*ast.StringNode)
	if !ok || !slices.Contains(timeMethods, name.Value) {
		return nil, fmt.Errorf("unknown method %s", callee.Property)
	}
	base, err := c.compile(callee.Node)
	if err != nil {
		return nil, err
	}
	args, err := c.compileAll(n.Arguments...)
	return func(m *machine) any { return m.callMethod(base(m), name.Value, args) }, err
}

var timeMethods = []string{
	"Year", "Month", "Day", "Weekday", "YearDay", "Hour", "Minute", "Second", "Unix", "Format",
	"Before", "After", "Equal", "Add", "Sub", "AddDate", "Truncate", "Hours", "Minutes", "Seconds",
}

func (m *machine) callMethod(base any, name string, args []node) (result any) {
	if isUnknown(base) || base == nil {
		return base
	}
	method := reflect.ValueOf(plainValue(base)).MethodByName(name)
	if !method.IsValid() || method.Type().NumIn() != len(args) {
		return m.fail("method %s does not go with a %s", name, kindName(base))
	}
	values, plain := make([]reflect.Value, len(args)), make([]any, len(args))
	for i, arg := range args {
		v := plainValue(arg(m))
		if isUnknown(v) || v == nil {
			return v
		}
		values[i], plain[i] = reflect.ValueOf(v), v
	}
	if !m.makes(formatCost(plain)) {
		return unknown{}
	}
	defer func() {
		if recover() != nil {
			result = m.fail("method %s does not take these values", name)
		}
	}()
	return ownValue(method.Call(values)[0].Interface())
}
