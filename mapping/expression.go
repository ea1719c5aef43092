package mapping

import (
	"errors"
	"fmt"
	"slices"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"rowhook/capture"
	"rowhook/delivery"
)

// expression is a compiled expr-lang text, not yet tied to a table.
//
// The library parses and checks it; its tree is then turned into closures of our own, because
// the library's machine knows neither unknown values nor exact numbers, and treats
// NULL as a fault. The meaning kept here:
//
//   - a value that the stream did not carry is unknown, and so is what is made of it, except
//     where the other side of and/or, or the branch not taken, settles the answer;
//   - what cannot be computed (a function on a value of the wrong kind) is unknown too, with its reason;
//   - NULL makes arithmetic and functions NULL, and comparisons false; x == nil and
//     x != nil, written so, ask for NULL itself;
//   - numbers are exact, see [decimal].
type expression struct {
	text    string
	tree    ast.Node // as parsed
	root    node
	columns []columnRef // what it reads, each once
	vars    int         // variables made with let
}

// side says which row a column is read from.
type side uint8

const (
	sideOld side = iota
	sideNew
	sideRow // the new row, or the old one for a delete
)

var sideNames = map[string]side{"old": sideOld, "new": sideNew, "row": sideRow}

// columnRef is a column that an expression reads.
type columnRef struct {
	side side
	name string
}

// node computes a part of an expression. unknown{} stands for what cannot be known.
type node func(*machine) any

type unknown struct{}

// machine runs one expression on one change.
type machine struct {
	e       *evaluation
	cols    []int // the expression's columns in the table
	vars    []any
	element []element    // of the lists being walked, innermost last
	reads   []keptColumn // by the expression's columns
	err     error
}

// keptColumn is a column's value that was read inside a predicate, and is read again for each
// element.
type keptColumn struct {
	value any
	read  bool
}

// element is what # stands for inside a predicate.
type element struct {
	value, acc any
	index      int
}

// fail notes why a value cannot be computed. Errors never hold row data.
func (m *machine) fail(format string, args ...any) any {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
	return unknown{}
}

// boundExpression is an expression with its columns found in one table.
type boundExpression struct {
	*expression
	cols []int
}

// value computes the expression. ok is false when it is unknown; err says why if a value was at
// fault.
func (b *boundExpression) value(e *evaluation) (v any, ok bool, err error) {
	if e.cost.err != nil {
		return nil, false, e.cost.err
	}
	m := machine{e: e, cols: b.cols}
	if b.vars > 0 {
		m.vars = make([]any, b.vars)
	}
	v = b.root(&m)
	if _, missing := v.(unknown); missing {
		return nil, false, m.err
	}
	if isContainer(v) && !m.makes(m.weigh(v)) { // for the JSON that it becomes
		return nil, false, m.err
	}
	return v, true, nil
}

// truth answers a condition.
func (b *boundExpression) truth(e *evaluation) delivery.Truth {
	v, ok, err := b.value(e)
	if !ok {
		if err != nil {
			e.blame.err = fmt.Errorf("if: %w", err)
		}
		return delivery.Undecidable
	}
	switch v {
	case true:
		return delivery.True
	case false, nil:
		return delivery.False
	}
	e.blame.err = errors.New("if: the result is neither true nor false")
	return delivery.Undecidable
}

// compileExpression parses, checks and compiles. A condition must give true or false.
func compileExpression(text string, condition bool, aliases ...string) (*expression, error) {
	members := map[string]any{}
	options := []expr.Option{expr.Env(map[string]any{
		"old": members, "new": members, "row": members, "actor": members, "op": "", "operation": "",
	}), expr.Optimize(false)}
	if condition {
		options = append(options, expr.AsBool())
	}
	if _, err := expr.Compile(text, options...); err != nil {
		return nil, syntaxError(err)
	}
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, syntaxError(err)
	}
	c := expressionCompiler{expression: &expression{text: text, tree: tree.Node}, source: []rune(text), aliases: aliases}
	if c.expression.root, err = c.compile(tree.Node); err != nil {
		return nil, err
	}
	return c.expression, nil
}

// syntaxError keeps the library's message in one line.
func syntaxError(err error) error {
	var at *file.Error
	if errors.As(err, &at) {
		return fmt.Errorf("%s, at character %d", at.Message, at.From+1)
	}
	return err
}

// reads reports whether any column is read, for rules on changes that have no row.
func (x *expression) reads() bool { return len(x.columns) > 0 }

// expressionCompiler turns the library's tree into nodes.
type expressionCompiler struct {
	*expression
	source []rune
	// aliases are rows beside the own one, whose columns are row.alias.column.
	aliases []string
	names   []string // of variables in scope
	slots   []int    // of those, in machine.vars
	inside  int      // predicates around
	nodes   int      // compiled so far
}

func (c *expressionCompiler) compile(n ast.Node) (node, error) {
	c.nodes++
	switch n := n.(type) {
	case *ast.NilNode:
		return constant(nil), nil
	case *ast.BoolNode:
		return constant(n.Value), nil
	case *ast.IntegerNode:
		return constant(n.Value), nil
	case *ast.StringNode:
		return constant(n.Value), nil
	case *ast.FloatNode:
		return c.float(n)
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.ChainNode:
		return c.compile(n.Node)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.ArrayNode:
		return c.array(n)
	case *ast.BuiltinNode:
		return c.builtin(n)
	case *ast.CallNode:
		return c.method(n)
	case *ast.PointerNode:
		return c.pointer(n)
	case *ast.SliceNode:
		return c.slice(n)
	case *ast.VariableDeclaratorNode:
		return c.variable(n)
	}
	return nil, fmt.Errorf("%s is not available in mapping expressions", n)
}

func constant(v any) node { return func(*machine) any { return v } }

// float takes the digits as written: the library's float64 may have lost some.
func (c *expressionCompiler) float(n *ast.FloatNode) (node, error) {
	at := n.Location()
	if at.From < 0 || at.To > len(c.source) || at.From >= at.To {
		return constant(decimalOfFloat(n.Value)), nil
	}
	digits := slices.DeleteFunc(slices.Clone(c.source[at.From:at.To]), func(r rune) bool { return r == '_' })
	if number, ok := parseNumber(string(digits)); ok {
		return constant(number), nil
	}
	return constant(decimalOfFloat(n.Value)), nil
}

func (c *expressionCompiler) identifier(n *ast.IdentifierNode) (node, error) {
	if i := slices.Index(c.names, n.Value); i >= 0 {
		slot := c.slots[i]
		return func(m *machine) any { return m.vars[slot] }, nil
	}
	switch n.Value {
	case "op":
		return func(m *machine) any { return m.e.op.String() }, nil
	case "operation":
		return func(m *machine) any { return emptyIsNull(m.e.told().operation) }, nil
	case "old", "new", "row":
		return nil, fmt.Errorf("%s is a row: write %s.column", n.Value, n.Value)
	case "actor":
		return nil, errors.New("actor has the members id and name: write actor.id or actor.name")
	}
	return nil, fmt.Errorf("unknown name %s", n.Value)
}

// emptyIsNull makes what nobody told NULL.
func emptyIsNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// member compiles row.column, actor.id, and members and elements of computed values.
func (c *expressionCompiler) member(n *ast.MemberNode) (node, error) {
	property, named := n.Property.(*ast.StringNode)
	if base, ok := n.Node.(*ast.IdentifierNode); ok && !slices.Contains(c.names, base.Value) {
		if which, ok := sideNames[base.Value]; ok {
			if !named {
				return nil, fmt.Errorf("columns of %s are named outright: write %s.column", base.Value, base.Value)
			}
			return c.column(which, property.Value), nil
		}
		if base.Value == "actor" && named {
			return actorMember(property.Value)
		}
	}
	if alias, ok := n.Node.(*ast.MemberNode); ok && named {
		if which, name := rowColumn(alias); name != "" && slices.Contains(c.aliases, name) {
			return c.column(which, name+"."+property.Value), nil
		}
	}
	base, err := c.compile(n.Node)
	if err != nil {
		return nil, err
	}
	key, err := c.compile(n.Property)
	if err != nil {
		return nil, err
	}
	return func(m *machine) any { return m.fetch(base(m), key(m)) }, nil
}

func actorMember(name string) (node, error) {
	switch name {
	case "id":
		return func(m *machine) any { return emptyIsNull(m.e.told().actor.ID) }, nil
	case "name":
		return func(m *machine) any { return emptyIsNull(m.e.told().actor.Name) }, nil
	}
	return nil, fmt.Errorf("actor has the members id and name, not %s", name)
}

// column reads a column. Where the operation has no such row, its columns are NULL.
func (c *expressionCompiler) column(which side, name string) node {
	ref := columnRef{which, name}
	i := slices.Index(c.columns, ref)
	if i < 0 {
		i = len(c.columns)
		c.columns = append(c.columns, ref)
	}
	if c.inside == 0 {
		return func(m *machine) any { return m.read(which, m.cols[i]) }
	}
	return func(m *machine) any {
		if m.reads == nil {
			m.reads = make([]keptColumn, len(m.cols))
		}
		k := &m.reads[i]
		if !k.read {
			k.value, k.read = m.read(which, m.cols[i]), true
		}
		return k.value
	}
}

func (m *machine) read(which side, col int) any {
	e := m.e
	var v capture.Value
	switch {
	case e.op == capture.Truncate, which == sideOld && (e.op == capture.Insert || e.op == capture.Read), which == sideNew && e.op == capture.Delete:
		return nil
	case which == sideOld:
		v = e.before(col)
	default:
		v = e.current(col)
	}
	if !known(v) || e.untyped(v, col) {
		e.undecided("if", col, which == sideOld || e.op == capture.Delete)
		return unknown{}
	}
	kind := e.table.Columns[col].Type.Kind
	if (kind == capture.JSON || kind == capture.List) && !m.makes(product(int64(len(v.Text)), jsonGrowth)) {
		return unknown{}
	}
	x, err := expressionValue(v, e.table.Columns[col].Type)
	if err != nil {
		return m.fail("column %q: %w", e.table.Columns[col].Name, err)
	}
	return x
}

func (c *expressionCompiler) conditional(n *ast.ConditionalNode) (node, error) {
	parts, err := c.compileAll(n.Cond, n.Exp1, n.Exp2)
	if err != nil {
		return nil, err
	}
	return func(m *machine) any {
		switch parts[0](m) {
		case true:
			return parts[1](m)
		case false, nil:
			return parts[2](m)
		case unknown{}:
			return unknown{}
		}
		return m.fail("the condition before ? is neither true nor false")
	}, nil
}

func (c *expressionCompiler) variable(n *ast.VariableDeclaratorNode) (node, error) {
	value, err := c.compile(n.Value)
	if err != nil {
		return nil, err
	}
	slot := c.vars
	c.vars++
	c.names, c.slots = append(c.names, n.Name), append(c.slots, slot)
	body, err := c.compile(n.Expr)
	c.names, c.slots = c.names[:len(c.names)-1], c.slots[:len(c.slots)-1]
	return func(m *machine) any {
		m.vars[slot] = value(m)
		return body(m)
	}, err
}

func (c *expressionCompiler) array(n *ast.ArrayNode) (node, error) {
	parts, err := c.compileAll(n.Nodes...)
	return func(m *machine) any {
		list := make([]any, len(parts))
		for i, part := range parts {
			if list[i] = part(m); list[i] == any(unknown{}) {
				return unknown{}
			}
		}
		return list
	}, err
}

func (c *expressionCompiler) compileAll(nodes ...ast.Node) ([]node, error) {
	parts := make([]node, len(nodes))
	for i, n := range nodes {
		var err error
		if parts[i], err = c.compile(n); err != nil {
			return nil, err
		}
	}
	return parts, nil
}
