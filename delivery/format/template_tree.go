package format

import (
	"slices"
	"text/template/parse"
)

// bound prepares a template's tree. Every list of nodes begins with empty texts, one for so many
// nodes in it, whose writing is counted (see run), so that no loop runs away unseen; every value
// that is written is written as [shown] has it; what comparisons look at is counted; and chains of
// fields are followed as [memberOf] does.
func bound(tree *parse.Tree) {
	if tree != nil {
		boundList(tree, tree.Root)
	}
}

func boundList(tree *parse.Tree, list *parse.ListNode) {
	if list == nil {
		return
	}
	work := 0
	for _, n := range list.Nodes {
		work += 1 + weight(n)
		switch n := n.(type) {
		case *parse.ActionNode:
			boundPipe(tree, n.Pipe)
			show(tree, n)
		case *parse.IfNode:
			boundBranch(tree, &n.BranchNode)
		case *parse.RangeNode:
			boundBranch(tree, &n.BranchNode)
		case *parse.WithNode:
			boundBranch(tree, &n.BranchNode)
		case *parse.TemplateNode:
			boundPipe(tree, n.Pipe)
		}
	}
	steps := []parse.Node{}
	for range 1 + work/nodesPerStep {
		steps = append(steps, &parse.TextNode{NodeType: parse.NodeText, Pos: list.Pos})
	}
	list.Nodes = append(steps, list.Nodes...)
}

// nodesPerStep is how many nodes of a pipeline are computed in one step.
const nodesPerStep = 8

func boundBranch(tree *parse.Tree, branch *parse.BranchNode) {
	boundPipe(tree, branch.Pipe)
	boundList(tree, branch.List)
	boundList(tree, branch.ElseList)
}

// show has a value pass through [shown] before it is written. What a pipeline assigns is not
// written.
func show(tree *parse.Tree, n *parse.ActionNode) {
	if len(n.Pipe.Decl) == 0 {
		n.Pipe.Cmds = append(n.Pipe.Cmds, command(n.Pos, function(tree, n.Pos, showFunc)))
	}
}

func boundPipe(tree *parse.Tree, pipe *parse.PipeNode) {
	if pipe == nil {
		return
	}
	for _, c := range pipe.Cmds {
		compares := false
		if name, ok := c.Args[0].(*parse.IdentifierNode); ok {
			compares = slices.Contains(comparisons, name.Ident)
		}
		for i, arg := range c.Args {
			c.Args[i] = boundArgument(tree, arg)
			if compares && i > 0 && !isLiteral(arg) {
				seen := command(arg.Position(), function(tree, arg.Position(), seenFunc), c.Args[i])
				c.Args[i] = &parse.PipeNode{NodeType: parse.NodePipe, Pos: arg.Position(), Cmds: []*parse.CommandNode{seen}}
			}
		}
	}
}

// comparisons are the functions that go through texts and are not ours.
var comparisons = []string{"eq", "ne", "lt", "le", "gt", "ge"}

func isLiteral(n parse.Node) bool {
	switch n.(type) {
	case *parse.BoolNode, *parse.NumberNode, *parse.StringNode, *parse.NilNode:
		return true
	}
	return false
}

// weight is how many nodes the pipelines of a node have, without the lists below it.
func weight(n parse.Node) int {
	switch n := n.(type) {
	case *parse.ActionNode:
		return weight(n.Pipe)
	case *parse.IfNode:
		return weight(n.Pipe)
	case *parse.RangeNode:
		return weight(n.Pipe)
	case *parse.WithNode:
		return weight(n.Pipe)
	case *parse.TemplateNode:
		return weight(n.Pipe)
	case *parse.ChainNode:
		return 1 + weight(n.Node)
	case *parse.PipeNode:
		if n == nil {
			return 0
		}
		sum := 0
		for _, c := range n.Cmds {
			for _, arg := range c.Args {
				sum += weight(arg)
			}
		}
		return sum
	}
	return 1
}

// boundArgument returns the argument with its chain of fields as a call of [memberOf], in
// parentheses. A single field of the dot can do without.
func boundArgument(tree *parse.Tree, arg parse.Node) parse.Node {
	switch n := arg.(type) {
	case *parse.PipeNode:
		boundPipe(tree, n)
	case *parse.FieldNode:
		if len(n.Ident) > 1 {
			return members(tree, n.Pos, &parse.DotNode{NodeType: parse.NodeDot, Pos: n.Pos}, n.Ident)
		}
	case *parse.VariableNode:
		if len(n.Ident) > 1 {
			return members(tree, n.Pos, &parse.VariableNode{NodeType: parse.NodeVariable, Pos: n.Pos, Ident: n.Ident[:1]}, n.Ident[1:])
		}
	case *parse.ChainNode:
		return members(tree, n.Pos, boundArgument(tree, n.Node), n.Field)
	}
	return arg
}

// members is the call of memberOf on an object.
func members(tree *parse.Tree, at parse.Pos, object parse.Node, names []string) parse.Node {
	call := command(at, function(tree, at, memberFunc), object)
	for _, name := range names {
		call.Args = append(call.Args, &parse.StringNode{NodeType: parse.NodeString, Pos: at, Quoted: name, Text: name})
	}
	return &parse.PipeNode{NodeType: parse.NodePipe, Pos: at, Cmds: []*parse.CommandNode{call}}
}

func function(tree *parse.Tree, at parse.Pos, name string) parse.Node {
	return parse.NewIdentifier(name).SetPos(at).SetTree(tree)
}

func command(at parse.Pos, args ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: at, Args: args}
}

// looksAt reports whether a template, whose tree is not prepared yet, may look at the member of
// that name: it names it, or has the whole event in hand.
func looksAt(tree *parse.Tree, name string) bool {
	return tree != nil && tree.Root != nil && listLooksAt(tree.Root, name)
}

func listLooksAt(list *parse.ListNode, name string) bool {
	if list == nil {
		return false
	}
	return slices.ContainsFunc(list.Nodes, func(n parse.Node) bool {
		switch n := n.(type) {
		case *parse.TextNode, *parse.CommentNode, *parse.BreakNode, *parse.ContinueNode:
			return false
		case *parse.ActionNode:
			return pipeLooksAt(n.Pipe, name)
		case *parse.IfNode:
			return branchLooksAt(&n.BranchNode, name)
		case *parse.RangeNode:
			return branchLooksAt(&n.BranchNode, name)
		case *parse.WithNode:
			return branchLooksAt(&n.BranchNode, name)
		case *parse.TemplateNode:
			return pipeLooksAt(n.Pipe, name)
		}
		return true
	})
}

func branchLooksAt(branch *parse.BranchNode, name string) bool {
	return pipeLooksAt(branch.Pipe, name) || listLooksAt(branch.List, name) || listLooksAt(branch.ElseList, name)
}

func pipeLooksAt(pipe *parse.PipeNode, name string) bool {
	return pipe != nil && slices.ContainsFunc(pipe.Cmds, func(c *parse.CommandNode) bool {
		return slices.ContainsFunc(c.Args, func(arg parse.Node) bool { return argumentLooksAt(arg, name) })
	})
}

func argumentLooksAt(arg parse.Node, name string) bool {
	switch n := arg.(type) {
	case *parse.BoolNode, *parse.NumberNode, *parse.StringNode, *parse.NilNode, *parse.IdentifierNode:
		return false
	case *parse.FieldNode:
		return slices.Contains(n.Ident, name)
	case *parse.VariableNode: // $ alone is the event; other variables were set by what is looked at itself
		return n.Ident[0] == "$" && len(n.Ident) == 1 || slices.Contains(n.Ident, name)
	case *parse.ChainNode:
		return slices.Contains(n.Field, name) || argumentLooksAt(n.Node, name)
	case *parse.PipeNode:
		return pipeLooksAt(n, name)
	}
	return true // the dot, and what is not known
}
