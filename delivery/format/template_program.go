package format

import (
	"strings"
	"text/template/parse"
)

// program is a template of the kind that nearly all are, made ready to be written straight from an
// event: texts, members, pipelines of the functions in [quickFunctions], if, with, range and
// variables. What else a template has makes that there is no program of it, and text/template
// renders it.
//
// A program means what text/template means by the template, or it gives up: an error, a value that
// a function does not take, and what comes near a bound of [templated] are left to text/template,
// which then renders the whole body. So a program need be right only about what it finishes.
type program struct {
	slots int // of variables; the first is the event, or the group
	body  *block
}

// block is a list of statements.
type block struct {
	statements []statement
	steps      int // at most that many does text/template take for it, the blocks within it aside
}

type statement struct {
	do   action
	text string
	of   *expression
	// slots are where what is set goes: of a loop, the index and the element; of all else that
	// sets a variable, the element.
	index, element  int
	dot             int // the slot of what with and range make the dot
	then, otherwise *block
}

type action uint8

const (
	writeText action = iota
	writeValue
	setVariable
	choose     // if
	enter      // with
	repeat     // range
	repeatEach // range over a group's events
)

// unset is the slot of a variable that a statement does not set.
const unset = -1

type expression struct {
	op   operation
	it   value    // of a literal
	slot int      // of a variable
	name string   // of a member of the event or the group; of a function
	path []string // of members
	// strict says that there must be something to have the member, as text/template wants it for a
	// single field; a chain of fields is nothing where what has it is nothing.
	strict bool
	args   []*expression
	make   maker  // of a function that makes a text
	format *verbs // of printf
}

type operation uint8

const (
	literal operation = iota
	variable
	ofEvent
	ofGroup
	follow
	call
)

// verbs is a format of printf, taken apart: each verb with the text before it.
type verbs struct {
	before []string
	verb   []byte
	after  string
}

// quickFunctions are the functions that programs have, with how many arguments they take.
var quickFunctions = map[string]struct{ least, most int }{
	"json": {1, 1}, "default": {2, 2}, "upper": {1, 1}, "lower": {1, 1}, "join": {2, 2}, "truncate": {2, 2},
	"html": {0, manyArguments}, "js": {0, manyArguments}, "urlquery": {0, manyArguments},
	"print": {0, manyArguments}, "println": {0, manyArguments}, "printf": {1, manyArguments},
	"eq": {2, manyArguments}, "ne": {2, 2}, "and": {1, manyArguments}, "or": {1, manyArguments}, "not": {1, 1}, "index": {2, 2},
}

const manyArguments = 64

// compile makes a program of a template's tree, which is not prepared by [bound] yet. It returns
// nil where the template has what programs do not.
func compile(tree *parse.Tree, group bool) *program {
	if tree == nil || tree.Root == nil {
		return nil
	}
	c := compiler{of: slotEvent}
	if group {
		c.of = slotGroup
	}
	c.slot(c.of)
	c.scope = append(c.scope, named{name: "$", slot: 0})
	body := c.block(tree.Root)
	if c.refused {
		return nil
	}
	return &program{slots: len(c.slots), body: body}
}

// compiler makes a program. What it cannot have makes it refuse.
type compiler struct {
	refused bool
	of      slotKind // the first slot's
	slots   []slotKind
	scope   []named // the variables in sight, the innermost last
	dot     int     // its slot
	looping bool    // within the loop over a group's events
	looped  bool    // there has been one
}

type named struct {
	name string
	slot int
}

// slotKind says what is known of a variable.
type slotKind uint8

const (
	slotAny slotKind = iota
	slotEvent
	slotGroup
)

func (c *compiler) refuse() { c.refused = true }

func (c *compiler) slot(kind slotKind) int {
	c.slots = append(c.slots, kind)
	return len(c.slots) - 1
}

// declare brings a new variable into sight.
func (c *compiler) declare(name string, kind slotKind) int {
	slot := c.slot(kind)
	c.scope = append(c.scope, named{name: name, slot: slot})
	return slot
}

// resolve returns the slot of a variable in sight.
func (c *compiler) resolve(name string) int {
	for i := len(c.scope) - 1; i >= 0; i-- {
		if c.scope[i].name == name {
			return c.scope[i].slot
		}
	}
	c.refuse()
	return 0
}

// block takes a list, whose variables are out of sight behind it.
func (c *compiler) block(list *parse.ListNode) *block {
	if list == nil {
		return nil
	}
	sight := len(c.scope)
	b := &block{}
	work := 1
	for _, n := range list.Nodes {
		work += 1 + weight(n)
		switch n := n.(type) {
		case *parse.TextNode:
			b.statements = append(b.statements, statement{do: writeText, text: string(n.Text)})
		case *parse.CommentNode:
		case *parse.ActionNode:
			b.statements = append(b.statements, c.action(n.Pipe))
		case *parse.IfNode:
			b.statements = append(b.statements, c.branch(choose, &n.BranchNode))
		case *parse.WithNode:
			b.statements = append(b.statements, c.branch(enter, &n.BranchNode))
		case *parse.RangeNode:
			b.statements = append(b.statements, c.loop(&n.BranchNode))
		default:
			c.refuse()
		}
		if c.refused {
			return nil
		}
	}
	b.steps = stepsPerNode * work
	c.scope = c.scope[:sight]
	return b
}

// stepsPerNode is how many steps text/template takes at most for a node that [weight] counts, the
// texts aside that it makes: functions look at what they take and at what they give.
const stepsPerNode = 3

// action takes what is written, or what a variable is set to.
func (c *compiler) action(pipe *parse.PipeNode) statement {
	of := c.pipe(pipe)
	switch {
	case len(pipe.Decl) == 0:
		return statement{do: writeValue, of: of}
	case len(pipe.Decl) > 1 || pipe.IsAssign && c.looping: // what is behind a group's event is gone with it
		c.refuse()
		return statement{}
	case pipe.IsAssign:
		return statement{do: setVariable, of: of, element: c.resolve(pipe.Decl[0].Ident[0])}
	}
	return statement{do: setVariable, of: of, element: c.declare(pipe.Decl[0].Ident[0], slotAny)}
}

// branch takes if and with.
func (c *compiler) branch(do action, n *parse.BranchNode) statement {
	sight, dot := len(c.scope), c.dot
	s := statement{do: do, of: c.pipe(n.Pipe), element: unset, dot: unset}
	switch {
	case len(n.Pipe.Decl) > 1 || len(n.Pipe.Decl) == 1 && n.Pipe.IsAssign:
		c.refuse()
	case len(n.Pipe.Decl) == 1:
		s.element = c.declare(n.Pipe.Decl[0].Ident[0], slotAny)
	}
	if do == enter {
		s.dot = c.slot(slotAny)
		c.dot = s.dot
	}
	s.then = c.block(n.List)
	c.dot = dot
	s.otherwise = c.block(n.ElseList)
	c.scope = c.scope[:sight]
	return s
}

// loop takes range.
func (c *compiler) loop(n *parse.BranchNode) statement {
	sight, dot := len(c.scope), c.dot
	s := statement{do: repeat, index: unset, element: unset}
	kind := slotAny
	if c.isEvents(n.Pipe) {
		if c.looped || n.ElseList != nil {
			c.refuse()
			return s
		}
		s.do, kind = repeatEach, slotEvent
		c.looping, c.looped = true, true
		defer func() { c.looping = false }()
	} else {
		s.of = c.pipe(n.Pipe)
	}
	switch decl := n.Pipe.Decl; {
	case len(decl) > 0 && (n.Pipe.IsAssign || n.ElseList != nil):
		c.refuse()
	case len(decl) == 1:
		s.element = c.declare(decl[0].Ident[0], kind)
	case len(decl) == 2:
		s.index = c.declare(decl[0].Ident[0], slotAny)
		s.element = c.declare(decl[1].Ident[0], kind)
	}
	s.dot = c.slot(kind)
	c.dot = s.dot
	s.then = c.block(n.List)
	c.dot = dot
	s.otherwise = c.block(n.ElseList)
	c.scope = c.scope[:sight]
	return s
}

// isEvents reports whether a pipeline is a group's events and nothing else.
func (c *compiler) isEvents(pipe *parse.PipeNode) bool {
	if len(pipe.Cmds) != 1 || len(pipe.Cmds[0].Args) != 1 {
		return false
	}
	switch n := pipe.Cmds[0].Args[0].(type) {
	case *parse.FieldNode:
		return c.slots[c.dot] == slotGroup && len(n.Ident) == 1 && n.Ident[0] == "events"
	case *parse.VariableNode:
		return len(n.Ident) == 2 && n.Ident[1] == "events" && c.slots[c.resolve(n.Ident[0])] == slotGroup
	}
	return false
}

// pipe takes a pipeline: what a command gives is the last argument of the next.
func (c *compiler) pipe(pipe *parse.PipeNode) *expression {
	var last *expression
	for _, command := range pipe.Cmds {
		if c.refused {
			break
		}
		last = c.command(command, last)
	}
	return last
}

func (c *compiler) command(command *parse.CommandNode, last *expression) *expression {
	if name, ok := command.Args[0].(*parse.IdentifierNode); ok {
		return c.call(name.Ident, command.Args[1:], last)
	}
	_, isNil := command.Args[0].(*parse.NilNode)
	if isNil || last != nil || len(command.Args) > 1 {
		c.refuse()
	}
	return c.operand(command.Args[0])
}

func (c *compiler) operand(n parse.Node) *expression {
	switch n := n.(type) {
	case *parse.NilNode:
		return &expression{op: literal}
	case *parse.BoolNode:
		return &expression{op: literal, it: truth(n.True)}
	case *parse.StringNode:
		return &expression{op: literal, it: textValue(n.Text)}
	case *parse.NumberNode:
		if n.IsInt && strings.Trim(n.Text, "0123456789-") == "" {
			return &expression{op: literal, it: integer(int(n.Int64))}
		}
	case *parse.DotNode:
		return c.variable(c.dot)
	case *parse.FieldNode:
		return c.members(c.dot, n.Ident)
	case *parse.VariableNode:
		if len(n.Ident) == 1 {
			return c.variable(c.resolve(n.Ident[0]))
		}
		e := c.members(c.resolve(n.Ident[0]), n.Ident[1:])
		e.strict = false
		return e
	case *parse.ChainNode:
		return &expression{op: follow, path: n.Field, args: []*expression{c.operand(n.Node)}}
	case *parse.PipeNode:
		if len(n.Decl) == 0 {
			return c.pipe(n)
		}
	}
	c.refuse()
	return &expression{}
}

// variable is a variable as a whole, which the event and the group have no value for.
func (c *compiler) variable(slot int) *expression {
	if c.slots[slot] != slotAny {
		c.refuse()
	}
	return &expression{op: variable, slot: slot}
}

// members follows fields from a variable.
func (c *compiler) members(slot int, path []string) *expression {
	e := &expression{op: variable, slot: slot}
	switch c.slots[slot] {
	case slotAny:
		return &expression{op: follow, path: path, strict: len(path) == 1, args: []*expression{e}}
	case slotEvent:
		e = &expression{op: ofEvent, name: path[0]}
	case slotGroup:
		if path[0] == "events" {
			c.refuse()
		}
		e = &expression{op: ofGroup, name: path[0]}
	}
	if len(path) == 1 {
		return e
	}
	return &expression{op: follow, path: path[1:], args: []*expression{e}}
}

func (c *compiler) call(name string, args []parse.Node, last *expression) *expression {
	e := &expression{op: call, name: name, make: makers[name]}
	for _, arg := range args {
		e.args = append(e.args, c.operand(arg))
	}
	if last != nil {
		e.args = append(e.args, last)
	}
	f, ok := quickFunctions[name]
	if !ok || len(e.args) < f.least || len(e.args) > f.most {
		c.refuse()
		return e
	}
	first := isReserved
	if len(e.args) > 0 && e.args[0].op == literal {
		first = e.args[0].it.kind
	}
	switch name {
	case "truncate":
		ok = first == isInteger
	case "join":
		ok = first == isText
	case "printf":
		if ok = first == isText; ok {
			e.format = parseVerbs(e.args[0].it.text)
			e.args = e.args[1:]
			ok = e.format != nil && len(e.format.verb) == len(e.args)
		}
	}
	if !ok {
		c.refuse()
	}
	return e
}

// parseVerbs takes a format of printf apart, if it has plain %s, %v and %d only.
func parseVerbs(format string) *verbs {
	const longest = 1024
	if len(format) > longest {
		return nil
	}
	f := &verbs{}
	var text strings.Builder
	for {
		before, rest, found := strings.Cut(format, "%")
		text.WriteString(before)
		switch {
		case !found:
			f.after = text.String()
			return f
		case rest == "":
			return nil
		case rest[0] == '%':
			text.WriteByte('%')
		case strings.IndexByte("svd", rest[0]) >= 0:
			f.before, f.verb = append(f.before, text.String()), append(f.verb, rest[0])
			text.Reset()
		default:
			return nil
		}
		format = rest[1:]
	}
}
