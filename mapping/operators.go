package mapping

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
)

func (c *expressionCompiler) unary(n *ast.UnaryNode) (node, error) {
	operand, err := c.compile(n.Node)
	if err != nil {
		return nil, err
	}
	switch n.Operator {
	case "not", "!":
		return func(m *machine) any {
			switch operand(m) {
			case true:
				return false
			case false, nil:
				return true
			case unknown{}:
				return unknown{}
			}
			return m.fail("what follows not is neither true nor false")
		}, nil
	case "-":
		return func(m *machine) any { return m.arithmetic("-", 0, operand(m)) }, nil
	case "+":
		return operand, nil
	}
	return nil, fmt.Errorf("operator %s is not available in mapping expressions", n.Operator)
}

func (c *expressionCompiler) binary(n *ast.BinaryNode) (node, error) {
	parts, err := c.compileAll(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	left, right := parts[0], parts[1]
	switch op := n.Operator; op {
	case "and", "&&":
		return settledBy(false, left, right), nil
	case "or", "||":
		return settledBy(true, left, right), nil
	case "==", "!=", "<", "<=", ">", ">=":
		return c.comparison(n, left, right), nil
	case "in":
		return strict(left, right, (*machine).in), nil
	case "contains", "startsWith", "endsWith":
		return strict(left, right, func(m *machine, a, b any) any { return m.text(op, a, b) }), nil
	case "matches":
		return c.matches(n, left, right)
	case "+", "-", "*", "/", "%", "**", "^":
		return func(m *machine) any { return m.arithmetic(op, left(m), right(m)) }, nil
	case "??":
		return func(m *machine) any {
			if v := left(m); v != nil {
				return v
			}
			return right(m)
		}, nil
	case "..":
		return strict(left, right, (*machine).span), nil
	}
	return nil, fmt.Errorf("operator %s is not available in mapping expressions", n.Operator)
}

// settledBy is and (settled by false) and or (settled by true). A NULL counts as false.
func settledBy(settled bool, left, right node) node {
	return func(m *machine) any {
		a := m.boolean(left(m))
		if a == settled {
			return settled
		}
		b := m.boolean(right(m))
		if b == settled {
			return settled
		}
		if a == any(unknown{}) {
			return a
		}
		return b
	}
}

func (m *machine) boolean(v any) any {
	switch v.(type) {
	case bool, unknown:
		return v
	case nil:
		return false
	}
	return m.fail("a side of and/or is neither true nor false")
}

// strict computes where both sides are known; a NULL side makes the answer false.
func strict(left, right node, compute func(m *machine, a, b any) any) node {
	return func(m *machine) any {
		a, b := left(m), right(m)
		if a == any(unknown{}) || isUnknown(b) {
			return unknown{}
		}
		if a == nil || b == nil {
			return false
		}
		return compute(m, a, b)
	}
}

func isUnknown(v any) bool {
	_, ok := v.(unknown)
	return ok
}

// comparison compiles == and its like. One with a written nil asks for NULL; one of a column's
// old and new value is decided, too, by the stream's word that it is unchanged.
func (c *expressionCompiler) comparison(n *ast.BinaryNode, left, right node) node {
	_, leftNil := n.Left.(*ast.NilNode)
	_, rightNil := n.Right.(*ast.NilNode)
	op := n.Operator
	if leftNil || rightNil {
		return func(m *machine) any {
			a, b := left(m), right(m)
			if isUnknown(a) || isUnknown(b) {
				return unknown{}
			}
			null := a == nil && b == nil
			return op == "==" && null || op == "!=" && !null
		}
	}
	stored := c.stored(n.Left) && c.stored(n.Right)
	compare := strict(left, right, func(m *machine, a, b any) any { return m.compare(op, a, b, stored) })
	index, ok := c.oldAndNew(n)
	if !ok {
		return compare
	}
	return func(m *machine) any {
		// A value that the stream leaves out as unchanged lies outside the row, and so is not NULL.
		if col := m.cols[index]; m.e.unchanged(col) && !known(m.e.after(col)) {
			return op == "==" || op == "<=" || op == ">="
		}
		return compare(m)
	}
}

// stored reports whether a node is a column, or a part of one.
func (c *expressionCompiler) stored(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ChainNode:
		return c.stored(n.Node)
	case *ast.SliceNode:
		return c.stored(n.Node)
	case *ast.MemberNode:
		base, isName := n.Node.(*ast.IdentifierNode)
		if !isName {
			return c.stored(n.Node)
		}
		_, isRow := sideNames[base.Value]
		return isRow && !slices.Contains(c.names, base.Value)
	}
	return false
}

// oldAndNew reports whether both sides are one column's values before and after.
func (c *expressionCompiler) oldAndNew(n *ast.BinaryNode) (index int, ok bool) {
	leftSide, leftName := rowColumn(n.Left)
	rightSide, rightName := rowColumn(n.Right)
	if leftName == "" || leftName != rightName || (leftSide == sideOld) == (rightSide == sideOld) {
		return 0, false
	}
	for i, ref := range c.columns {
		if ref.name == leftName {
			return i, true
		}
	}
	return 0, false
}

func rowColumn(n ast.Node) (which side, name string) {
	member, ok := n.(*ast.MemberNode)
	if !ok {
		return 0, ""
	}
	base, isName := member.Node.(*ast.IdentifierNode)
	property, isColumn := member.Property.(*ast.StringNode)
	if !isName || !isColumn {
		return 0, ""
	}
	which, ok = sideNames[base.Value]
	if !ok {
		return 0, ""
	}
	return which, property.Value
}

// compare answers for two values that are neither NULL nor unknown.
func (m *machine) compare(op string, a, b any, stored bool) any {
	switch {
	case !m.comparable(a, b):
		return unknown{}
	case needsZone(a, b):
		return m.fail("%s compares a time with a zone and one without, which takes the session's zone", op)
	}
	switch op {
	case "==":
		return equalValues(a, b, stored)
	case "!=":
		return !equalValues(a, b, stored)
	}
	order, ordered := compareValues(a, b)
	switch {
	case ordered:
	case kindName(a) == "text" && kindName(b) == "text":
		return m.fail("%s compares values whose order is not known", op)
	default:
		return m.fail("%s compares a %s with a %s", op, kindName(a), kindName(b))
	}
	switch op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

// in answers whether a list holds the value, or an object has the member.
func (m *machine) in(a, b any) any {
	switch container := b.(type) {
	case []any:
		if !m.walkable(b) || !m.works(product(int64(len(container)), 1+m.weigh(a)/bytesPerStep)) {
			return unknown{}
		}
		for _, v := range container {
			if equalValues(a, v, false) {
				return true
			}
		}
		return false
	case map[string]any:
		name, ok := textOf(a)
		_, has := container[name]
		return ok && has
	}
	return m.fail("in looks into a %s", kindName(b))
}

func (m *machine) text(op string, a, b any) any {
	s, ok := textOf(a)
	part, okPart := textOf(b)
	switch {
	case !m.looks(s, part):
		return unknown{}
	case !ok || !okPart:
		return m.fail("%s compares a %s with a %s", op, kindName(a), kindName(b))
	case op == "contains":
		return strings.Contains(s, part)
	case op == "startsWith":
		return strings.HasPrefix(s, part)
	}
	return strings.HasSuffix(s, part)
}

// matches compiles a constant pattern at once.
func (c *expressionCompiler) matches(n *ast.BinaryNode, left, right node) (node, error) {
	if text, ok := n.Right.(*ast.StringNode); ok {
		compiled, err := newPattern(text.Value)
		if err != nil {
			return nil, fmt.Errorf("matches: %w", err)
		}
		right = constant(compiled)
	}
	return strict(left, right, func(m *machine, a, b any) any {
		s, ok := textOf(a)
		if !ok {
			return m.fail("matches looks into a %s", kindName(a))
		}
		if compiled, ok := b.(*pattern); ok {
			return m.matches(compiled, s)
		}
		text, ok := textOf(b)
		if !ok {
			return m.fail("matches takes its pattern from a %s", kindName(b))
		}
		compiled, err := m.valuePattern(text)
		if err != nil {
			return m.fail("matches: %w", err)
		}
		return m.matches(compiled, s)
	}), nil
}

// arithmetic also joins texts and moves times by durations.
func (m *machine) arithmetic(op string, a, b any) any {
	if isUnknown(a) || isUnknown(b) {
		return unknown{}
	}
	if a == nil || b == nil {
		return nil
	}
	a, b = plainValue(a), plainValue(b)
	if isNumber(a) && isNumber(b) {
		if !m.computable(op, a, b) {
			return unknown{}
		}
		if r, ok := calculate(op, a, b); ok {
			return r
		}
		return m.fail("%s has no result for these numbers", op)
	}
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok && op == "+" {
			if !m.makes(int64(len(x) + len(y))) {
				return unknown{}
			}
			return madeText(x + y)
		}
	case time.Time:
		switch y := b.(type) {
		case time.Time:
			if op == "-" {
				return x.Sub(y)
			}
		case time.Duration:
			if op == "+" {
				return x.Add(y)
			} else if op == "-" {
				return x.Add(-y)
			}
		}
	case time.Duration:
		if y, ok := b.(time.Time); ok && op == "+" {
			return y.Add(x)
		} else if y, ok := b.(time.Duration); ok && op == "+" {
			return x + y
		} else if ok && op == "-" {
			return x - y
		}
	case int:
		if y, ok := b.(time.Duration); ok && (op == "*" || op == "-" && x == 0) {
			if op == "-" {
				return -y
			}
			return time.Duration(x) * y
		}
	}
	return m.fail("%s does not go with a %s and a %s", op, kindName(a), kindName(b))
}

// maxSpan bounds what from..to may make.
const maxSpan = 10_000

func (m *machine) span(a, b any) any {
	from, ok := a.(int)
	to, okTo := b.(int)
	if !ok || !okTo || to-from >= maxSpan {
		return m.fail("a range goes between two integers, over at most %d numbers", maxSpan)
	}
	if !m.makes(int64(max(0, to-from+1)) * elementSize) {
		return unknown{}
	}
	list := make([]any, 0, max(0, to-from+1))
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}
