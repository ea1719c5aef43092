package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"rowhook/capture"
	"rowhook/delivery"
)

// Whether the kinds of an expression's values go together shows as soon as the table's columns are
// known, long before the first row. An inference walks the expression's tree as a machine would,
// with the kinds that each part can have in place of values. What can never be computed, whatever
// the row holds, is a fault: at run time each such change would be parked. What JSON holds, nobody
// knows before: it is any kind.

// kinds is a set of kinds of values.
type kinds uint8

const (
	kindNumber kinds = 1 << iota
	kindText
	kindBool
	kindTime
	kindDuration
	kindList
	kindObject
	anyKind = kindObject<<1 - 1
	// noKind is of NULL, which goes with everything.
	noKind kinds = 0
)

func (k kinds) has(other kinds) bool { return k&other != 0 }

// String names the kinds as errors at run time do.
func (k kinds) String() string {
	var names []string
	for i, name := range []string{"number", "text", "boolean", "time", "duration", "list", "object"} {
		if k.has(1 << i) {
			names = append(names, "a "+name)
		}
	}
	switch {
	case k == noKind:
		return "NULL"
	case strings.HasPrefix(names[len(names)-1], "a object"):
		names[len(names)-1] = "an object"
	}
	return strings.Join(names, " or ")
}

// kindsOf are the kinds that a column's values have in expressions, see [expressionValue].
func kindsOf(k capture.Kind) kinds {
	switch k {
	case capture.Integer, capture.Bigint, capture.Decimal, capture.Float:
		return kindNumber
	case capture.Bool:
		return kindBool
	case capture.Instant, capture.DateTime, capture.Date:
		return kindTime
	case capture.JSON:
		return anyKind
	case capture.List:
		return kindList
	}
	return kindText
}

// inferred is what is known of a part of an expression.
type inferred struct {
	kinds
	node    ast.Node
	literal *string // a text that is written out
	column  *capture.Type
	// either are the parts of which this is one: what ?? and ?: choose from.
	either []inferred
	// elements are those of a list, as far as they are known: what is written out, or one for all that a
	// column has.
	elements []inferred
}

// choices are the values that the part may be.
func (v inferred) choices() []inferred {
	if v.either != nil {
		return v.either
	}
	return []inferred{v}
}

// choice is a part that is one of several.
func choice(n ast.Node, parts ...inferred) inferred {
	v := inferred{node: n}
	for _, part := range parts {
		v.kinds |= part.kinds
		v.elements = append(v.elements, part.elements...)
		if part.kinds != noKind {
			v.either = append(v.either, part.choices()...)
		}
	}
	return v
}

// element is what a list's elements may be. Those of a column have no node of their own.
func (v inferred) element(n ast.Node) inferred {
	if len(v.elements) == 0 {
		return inferred{kinds: anyKind, node: n}
	}
	return choice(n, v.elements...).at(n)
}

// at is the part where a node stands for it that has none of its own.
func (v inferred) at(n ast.Node) inferred {
	if v.node == nil {
		v.node = n
	}
	v.either = slices.Clone(v.either)
	for i := range v.either {
		v.either[i] = v.either[i].at(n)
	}
	return v
}

// String is the part as messages show it.
func (v inferred) String() string {
	switch {
	case v.column != nil:
		return fmt.Sprintf("%s (%s)", v.node, v.column.Name)
	}
	switch v.node.(type) {
	case *ast.StringNode:
		return fmt.Sprintf("the text %s", v.node)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return v.node.String()
	}
	return fmt.Sprintf("%s, %s,", v.node, v.kinds)
}

// fault is something that an expression cannot compute, or a comparison that gives the same answer
// for every row.
type fault struct {
	text, remedy string
	idle         bool // nothing fails; the comparison only never tells rows apart
}

// inference is one walk through an expression for one table.
type inference struct {
	table  *capture.Table
	names  []string // of variables in scope
	vars   []inferred
	points []inferred // what # is, in the predicates around
	faults []fault
}

// inferFaults returns what is wrong with an expression for a table that has all of its columns.
func inferFaults(x *expression, t *capture.Table, condition bool) []fault {
	in := inference{table: t}
	whole := in.walk(x.tree)
	if condition && whole.kinds != noKind && !whole.has(kindBool) && len(in.faults) == 0 {
		in.fault("the result is neither true nor false: %s", whole)
	}
	return in.faults
}

func (in *inference) fault(format string, args ...any) {
	in.faults = append(in.faults, fault{text: fmt.Sprintf(format, args...)})
}

// need notes a fault where a part has none of the kinds that an operation takes.
func (in *inference) need(what string, v inferred, takes kinds) {
	if v.kinds != noKind && !v.has(takes) {
		in.fault("%s does not go with %s: it takes %s", what, v, takes)
	}
}

func (in *inference) walk(n ast.Node) inferred {
	v := inferred{kinds: anyKind, node: n}
	switch n := n.(type) {
	case *ast.NilNode:
		v.kinds = noKind
	case *ast.BoolNode:
		v.kinds = kindBool
	case *ast.IntegerNode, *ast.FloatNode:
		v.kinds = kindNumber
	case *ast.StringNode:
		v.kinds, v.literal = kindText, &n.Value
	case *ast.IdentifierNode:
		v.kinds = kindText // op, operation
		if i := slices.Index(in.names, n.Value); i >= 0 {
			v = in.vars[i]
			v.node = n
		}
	case *ast.PointerNode:
		if n.Name == "" && len(in.points) > 0 {
			v = in.points[len(in.points)-1].at(n)
		}
	case *ast.MemberNode:
		return in.member(n)
	case *ast.ChainNode:
		return in.walk(n.Node)
	case *ast.UnaryNode:
		v.kinds = in.unary(n)
	case *ast.BinaryNode:
		return in.binary(n)
	case *ast.ConditionalNode:
		in.need("what stands before ?", in.walk(n.Cond), kindBool)
		return choice(n, in.walk(n.Exp1), in.walk(n.Exp2))
	case *ast.ArrayNode:
		v.kinds = kindList
		for _, element := range n.Nodes {
			v.elements = append(v.elements, in.walk(element))
		}
	case *ast.BuiltinNode:
		return in.builtin(n)
	case *ast.CallNode:
		v.kinds = in.method(n)
	case *ast.SliceNode:
		base := in.walk(n.Node)
		in.need("[from:to]", base, kindText|kindList)
		v.kinds, v.elements = base.kinds, base.elements
	case *ast.VariableDeclaratorNode:
		value := in.walk(n.Value)
		in.names, in.vars = append(in.names, n.Name), append(in.vars, value)
		v = in.walk(n.Expr)
		in.names, in.vars = in.names[:len(in.names)-1], in.vars[:len(in.vars)-1]
	}
	return v
}

// member is a column, a member of actor, or what a computed value holds.
func (in *inference) member(n *ast.MemberNode) inferred {
	if base, ok := n.Node.(*ast.IdentifierNode); ok && !slices.Contains(in.names, base.Value) {
		if _, name := rowColumn(n); name != "" {
			return columnOf(n, in.table.Columns[in.table.Column(name)].Type)
		}
		if base.Value == "actor" {
			return inferred{kinds: kindText, node: n}
		}
	}
	if property, ok := n.Property.(*ast.StringNode); ok {
		if _, alias := rowColumn(n.Node); alias != "" { // of a row that is looked up
			if col := in.table.Column(alias + "." + property.Value); col >= 0 {
				return columnOf(n, in.table.Columns[col].Type)
			}
		}
	}
	base := in.walk(n.Node)
	in.need("a member", base, kindList|kindObject)
	if in.walk(n.Property).has(kindNumber) && base.kinds == kindList {
		return base.element(n)
	}
	return inferred{kinds: anyKind, node: n}
}

// columnOf is a column's value. What a list of texts has are texts; other elements are any kind.
func columnOf(n ast.Node, t *capture.Type) inferred {
	v := inferred{kinds: kindsOf(t.Kind), node: n, column: t}
	if t.Kind == capture.List && t.Elem != nil && elementSense(t) != delivery.SenseText && kindsOf(t.Elem.Kind) == kindText {
		v.elements = []inferred{{kinds: kindText, column: t.Elem}}
	}
	return v
}

func (in *inference) unary(n *ast.UnaryNode) kinds {
	v := in.walk(n.Node)
	switch n.Operator {
	case "not", "!":
		in.need(n.Operator, v, kindBool)
		return kindBool
	case "-":
		in.need("-", v, kindNumber|kindDuration)
	}
	return v.kinds
}

func (in *inference) binary(n *ast.BinaryNode) inferred {
	a, b := in.walk(n.Left), in.walk(n.Right)
	v := inferred{kinds: kindBool, node: n}
	switch op := n.Operator; op {
	case "and", "&&", "or", "||":
		in.need(op, a, kindBool)
		in.need(op, b, kindBool)
	case "==", "!=", "<", "<=", ">", ">=":
		in.comparison(op, a, b)
	case "in":
		in.need("in", b, kindList|kindObject)
		for _, element := range b.elements {
			in.comparison("in", a, element.at(n.Right))
		}
	case "contains", "startsWith", "endsWith":
		in.need(op, a, kindText)
		in.need(op, b, kindText)
	case "matches":
		in.need(op, a, kindText)
		in.need(op, b, kindText)
	case "??":
		return choice(n, a, b)
	case "..":
		in.need("..", a, kindNumber)
		in.need("..", b, kindNumber)
		v.kinds = kindList
	default:
		v.kinds = in.arithmetic(op, a, b)
	}
	return v
}

// sums are what + - and * make of two kinds beside numbers, see [machine.arithmetic].
var sums = map[string][][3]kinds{
	"+": {
		{kindText, kindText, kindText}, {kindTime, kindDuration, kindTime},
		{kindDuration, kindTime, kindTime}, {kindDuration, kindDuration, kindDuration},
	},
	"-": {{kindTime, kindTime, kindDuration}, {kindTime, kindDuration, kindTime}, {kindDuration, kindDuration, kindDuration}},
	"*": {{kindNumber, kindDuration, kindDuration}},
}

func (in *inference) arithmetic(op string, a, b inferred) (made kinds) {
	if a.kinds == noKind || b.kinds == noKind {
		return noKind
	}
	if a.has(kindNumber) && b.has(kindNumber) {
		made = kindNumber
	}
	for _, sum := range sums[op] {
		if a.has(sum[0]) && b.has(sum[1]) {
			made |= sum[2]
		}
	}
	if made == noKind {
		in.fault("%s does not go with %s and %s", op, a, b)
		return anyKind
	}
	return made
}

// signature is what a function takes first and gives. Other arguments are not judged.
type signature struct{ takes, gives kinds }

var signatures = map[string]signature{
	"trim": {kindText, kindText}, "trimPrefix": {kindText, kindText}, "trimSuffix": {kindText, kindText},
	"upper": {kindText, kindText}, "lower": {kindText, kindText}, "replace": {kindText, kindText},
	"split": {kindText, kindList}, "splitAfter": {kindText, kindList},
	"indexOf": {kindText, kindNumber}, "lastIndexOf": {kindText, kindNumber},
	"hasPrefix": {kindText, kindBool}, "hasSuffix": {kindText, kindBool},
	"toBase64": {kindText, kindText}, "fromBase64": {kindText, kindText}, "fromJSON": {kindText, anyKind},
	"duration": {kindText, kindDuration},
	"abs":      {kindNumber, kindNumber}, "ceil": {kindNumber, kindNumber}, "floor": {kindNumber, kindNumber}, "round": {kindNumber, kindNumber},
	"int": {kindNumber | kindText, kindNumber}, "float": {kindNumber | kindText, kindNumber},
	"string": {anyKind, kindText}, "toJSON": {anyKind, kindText}, "type": {anyKind, kindText},
	"len": {kindText | kindList | kindObject, kindNumber}, "join": {kindList, kindText},
	"min": {kindNumber | kindList, kindNumber}, "max": {kindNumber | kindList, kindNumber},
	"now": {anyKind, kindTime},
}

// walks are the functions that walk a list, see [predicates]: what they give, and whether they
// decide on each element.
var walks = map[string]struct {
	gives   kinds
	decides bool
}{
	"all": {kindBool, true}, "any": {kindBool, true}, "none": {kindBool, true}, "one": {kindBool, true}, "count": {kindNumber, true},
	"filter": {kindList, true}, "find": {anyKind, true}, "map": {kindList, false}, "sum": {anyKind, false}, "reduce": {anyKind, false},
}

// Functions whose result is one of a list's elements, and those that give a list of them.
var (
	picks = []string{"find", "first", "last", "get"}
	lists = []string{"filter", "sort", "take", "uniq", "reverse"}
)

func (in *inference) builtin(n *ast.BuiltinNode) inferred {
	args := make([]inferred, len(n.Arguments))
	for i, argument := range n.Arguments {
		if p, ok := argument.(*ast.PredicateNode); ok {
			in.points = append(in.points, args[0].element(nil))
			args[i] = in.walk(p.Node)
			in.points = in.points[:len(in.points)-1]
			continue
		}
		args[i] = in.walk(argument)
	}
	v := inferred{kinds: anyKind, node: n}
	if len(args) > 0 && slices.Contains(lists, n.Name) {
		v.kinds, v.elements = kindList, args[0].elements
	}
	w, isWalk := walks[n.Name]
	s, known := signatures[n.Name]
	switch {
	case len(args) == 0:
		if known {
			v.kinds = s.gives
		}
	case isWalk:
		in.need(n.Name, args[0], kindList)
		if w.decides && len(args) > 1 {
			in.need("the condition of "+n.Name, args[1], kindBool)
		}
		v.kinds = w.gives
	case known:
		if len(args) > 1 && s.takes == kindNumber|kindList { // min and max: of a list, or of numbers
			s.takes = kindNumber
		}
		in.need(n.Name, args[0], s.takes)
		v.kinds = s.gives
	}
	if len(args) > 0 && n.Name == "sort" {
		in.sorted(args[0])
	}
	if len(args) > 0 && slices.Contains(picks, n.Name) && args[0].kinds == kindList {
		return args[0].element(n)
	}
	return v
}

// sorted judges a list that is sorted: the library's sort knows texts only.
func (in *inference) sorted(list inferred) {
	for _, element := range list.element(list.node).choices() {
		if element.column == nil || element.kinds != kindText {
			continue
		}
		if sense := senseOf(element.column); sense != delivery.SenseText {
			in.faults = append(in.faults, fault{text: fmt.Sprintf("sort puts %s in the order of its texts, and not in that of the database", element), idle: true})
			return
		}
	}
}

// method is a method of a time or a duration.
func (in *inference) method(n *ast.CallNode) kinds {
	callee, ok := n.Callee.(*ast.MemberNode)
	if !ok {
		return anyKind
	}
	for _, argument := range n.Arguments {
		in.walk(argument)
	}
	name, _ := callee.Property.(*ast.StringNode)
	base := in.walk(callee.Node)
	if name == nil {
		return anyKind
	}
	takes := kindTime
	switch name.Value {
	case "Hours", "Minutes", "Seconds":
		takes = kindDuration
	case "Truncate":
		takes |= kindDuration
	}
	in.need("."+name.Value+"()", base, takes)
	switch name.Value {
	case "Before", "After", "Equal":
		return kindBool
	case "Add", "AddDate":
		return kindTime
	case "Sub":
		return kindDuration
	case "Format":
		return kindText
	case "Truncate":
		return base.kinds
	}
	return kindNumber
}
