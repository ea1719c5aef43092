package mapping

import (
	"slices"

	"github.com/expr-lang/expr/ast"

	"rowhook/capture"
)

// A profile may want 64-bit integers as texts. Which members hold them hangs on the columns alone,
// and not on how large a value happens to be: receivers see one type.

// holdsBigints reports whether a type's values are 64-bit integers, or lists of them.
func holdsBigints(t *capture.Type) bool {
	return t.Kind == capture.Bigint || t.Kind == capture.List && t.Elem != nil && t.Elem.Kind == capture.Bigint
}

// collectBigints lists the members that hold 64-bit integers as numbers.
func (b *binder) collectBigints(members []member) {
	for i := range members {
		m := &members[i]
		b.collectBigints(m.members)
		switch {
		case m.part == nil:
		case m.convert == nil:
			b.bigints = append(b.bigints, m.part.bigints(m.path)...)
		default:
			b.bigints = append(b.bigints, m.part.shapedBigints(m.path, m.items)...)
		}
		if m.mask != nil || m.convert != nil && !m.convert.lists() {
			continue
		}
		switch {
		case m.col != none:
			m.bigints = holdsBigints(b.table.Columns[m.col].Type)
		case m.expr != nil:
			w := bigintWalk{table: b.table}
			m.bigints = w.gives(m.expr.tree)
		}
		if m.bigints && !slices.Contains(b.bigints, m.path) {
			b.bigints = append(b.bigints, m.path)
		}
	}
}

// bigintWalk finds out whether an expression gives 64-bit integers: those of a column, or what whole
// arithmetic makes of them.
type bigintWalk struct {
	table    *capture.Table
	names    []string // of variables in scope
	vars     []bool
	elements []bool // of the lists being walked, innermost last
	rounded  bool   // what is walked is rounded: floor(row.id / 100)
}

// ofWhole are the functions that give what their arguments are, and whether the second is a
// predicate that makes the result.
var ofWhole = map[string]bool{
	"abs": false, "min": false, "max": false, "int": false, "floor": false, "ceil": false, "round": false,
	"first": false, "last": false, "take": false, "get": false, "sort": false, "reverse": false, "uniq": false, "flatten": false, "concat": false,
	"filter": false, "find": false, "findLast": false, "sum": true, "map": true, "reduce": true,
}

// rounding are the functions that make whole numbers of others.
var rounding = []string{"int", "floor", "ceil", "round"}

// fractional reports whether a number may be no whole one: a decimal, a column of such, and what is
// computed with them.
func (w *bigintWalk) fractional(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.FloatNode:
		return true
	case *ast.MemberNode:
		_, name := rowColumn(n)
		if property, ok := n.Property.(*ast.StringNode); ok && name == "" {
			if _, alias := rowColumn(n.Node); alias != "" { // of a row that is looked up
				name = alias + "." + property.Value
			}
		}
		if col := w.table.Column(name); name != "" && col >= 0 {
			kind := w.table.Columns[col].Type.Kind
			return kind == capture.Decimal || kind == capture.Float
		}
	case *ast.ChainNode:
		return w.fractional(n.Node)
	case *ast.UnaryNode:
		return w.fractional(n.Node)
	case *ast.BinaryNode:
		return n.Operator == "/" || w.fractional(n.Left) || w.fractional(n.Right)
	case *ast.ConditionalNode:
		return w.fractional(n.Exp1) || w.fractional(n.Exp2)
	case *ast.BuiltinNode:
		return !slices.Contains(rounding, n.Name) && slices.ContainsFunc(n.Arguments, w.fractional)
	}
	return false
}

func (w *bigintWalk) gives(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		i := slices.Index(w.names, n.Value)
		return i >= 0 && w.vars[i]
	case *ast.MemberNode:
		return w.member(n)
	case *ast.ChainNode:
		return w.gives(n.Node)
	case *ast.UnaryNode:
		return n.Operator != "not" && n.Operator != "!" && w.gives(n.Node)
	case *ast.BinaryNode:
		switch n.Operator {
		case "??":
			return w.any(n.Left, n.Right)
		case "+", "-", "*", "%", "**", "^":
			return w.any(n.Left, n.Right) && (w.rounded || !w.fractional(n.Left) && !w.fractional(n.Right))
		case "/":
			return w.rounded && w.any(n.Left, n.Right)
		}
	case *ast.ConditionalNode:
		return w.any(n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		return w.any(n.Nodes...)
	case *ast.SliceNode:
		return w.gives(n.Node)
	case *ast.PredicateNode:
		return w.gives(n.Node)
	case *ast.PointerNode:
		return n.Name != "index" && len(w.elements) > 0 && w.elements[len(w.elements)-1]
	case *ast.VariableDeclaratorNode:
		w.names, w.vars = append(w.names, n.Name), append(w.vars, w.gives(n.Value))
		gives := w.gives(n.Expr)
		w.names, w.vars = w.names[:len(w.names)-1], w.vars[:len(w.vars)-1]
		return gives
	case *ast.BuiltinNode:
		return w.builtin(n)
	}
	return false
}

func (w *bigintWalk) any(nodes ...ast.Node) bool { return slices.ContainsFunc(nodes, w.gives) }

// member is a column, or an element of what is computed.
func (w *bigintWalk) member(n *ast.MemberNode) bool {
	base, isName := n.Node.(*ast.IdentifierNode)
	if _, name := rowColumn(n); name != "" && isName && !slices.Contains(w.names, base.Value) {
		col := w.table.Column(name)
		return col >= 0 && holdsBigints(w.table.Columns[col].Type)
	}
	if property, ok := n.Property.(*ast.StringNode); ok {
		if _, alias := rowColumn(n.Node); alias != "" { // of a row that is looked up
			if col := w.table.Column(alias + "." + property.Value); col >= 0 {
				return holdsBigints(w.table.Columns[col].Type)
			}
		}
	}
	return w.gives(n.Node)
}

func (w *bigintWalk) builtin(n *ast.BuiltinNode) bool {
	made, of := ofWhole[n.Name]
	if !of || len(n.Arguments) == 0 {
		return false
	}
	if slices.Contains(rounding, n.Name) {
		before := w.rounded
		w.rounded = true
		defer func() { w.rounded = before }()
	}
	list := w.gives(n.Arguments[0])
	if !made || len(n.Arguments) == 1 {
		return list || w.any(slices.DeleteFunc(slices.Clone(n.Arguments[1:]), isPredicate)...)
	}
	w.elements = append(w.elements, list)
	gives := w.gives(n.Arguments[1])
	w.elements = w.elements[:len(w.elements)-1]
	return gives
}

func isPredicate(n ast.Node) bool {
	_, ok := n.(*ast.PredicateNode)
	return ok
}
