package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"gopkg.in/yaml.v3"
)

// maxConfigNodes bounds what aliases can blow a file up to.
const maxConfigNodes = 200_000

// parseYAML reads the one document of a config file as a tree of maps, lists and
// scalars: aliases and merge keys (<<) are resolved, tags are refused.
func parseYAML(file string, data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, configErrors{{file: file, line: 1, column: 1, text: "the file is empty",
			remedy: "`rowhook init` writes one; config.example.yaml shows every key: source, mapping and profiles are what it takes"}}
	case err != nil:
		return nil, configErrors{syntaxError(file, data, err)}
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, configErrors{{file: file, line: second.Line, column: second.Column,
			text: "a second YAML document begins here; the config is one document"}}
	case !errors.Is(err, io.EOF):
		return nil, configErrors{syntaxError(file, data, err)}
	}
	r := resolver{file: file, open: map[*yaml.Node]bool{}}
	root := r.resolve(document.Content[0])
	return root, r.errs.orNil()
}

// resolver copies a tree of nodes with aliases and merge keys resolved. The copies
// keep the places of what they were copied from.
type resolver struct {
	file  string
	open  map[*yaml.Node]bool // on the way down to the current node
	count int
	errs  configErrors
}

func (r *resolver) refuse(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, &configError{file: r.file, line: n.Line, column: n.Column, text: fmt.Sprintf(format, args...)})
}

func (r *resolver) resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		if n.Alias == nil || r.open[n.Alias] {
			r.refuse(n, "the alias contains itself")
			return nullNode(n)
		}
		n = n.Alias
	}
	if r.count++; r.count > maxConfigNodes {
		if r.count == maxConfigNodes+1 {
			r.refuse(n, "too much: more than %d values, aliases expanded", maxConfigNodes)
		}
		return nullNode(n)
	}
	if n.Style&yaml.TaggedStyle != 0 {
		r.refuse(n, "tags are not taken; a text that begins with ! needs quotes")
		return nullNode(n)
	}
	r.open[n] = true
	defer delete(r.open, n)

	out := *n
	out.Content, out.Anchor, out.Alias = nil, "", nil
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			out.Content = append(out.Content, r.resolve(item))
		}
	case yaml.MappingNode:
		r.mapping(n, &out)
	}
	return &out
}

// mapping copies a map's entries, and behind them those that merge keys bring in
// and that the map does not have itself.
func (r *resolver) mapping(n, out *yaml.Node) {
	var merged []*yaml.Node
	has := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := r.resolve(n.Content[i]), r.resolve(n.Content[i+1])
		if isMerge(key) {
			merged = append(merged, r.mergeable(value)...)
			continue
		}
		has[key.Value] = true
		out.Content = append(out.Content, key, value)
	}
	for _, from := range merged {
		for i := 0; i+1 < len(from.Content); i += 2 {
			if key := from.Content[i]; !has[key.Value] {
				has[key.Value] = true
				out.Content = append(out.Content, key, from.Content[i+1])
			}
		}
	}
}

// mergeable returns the maps that the value of a merge key stands for.
func (r *resolver) mergeable(value *yaml.Node) []*yaml.Node {
	if value.Kind == yaml.MappingNode {
		return []*yaml.Node{value}
	}
	if value.Kind == yaml.SequenceNode {
		var all []*yaml.Node
		for _, item := range value.Content {
			all = append(all, r.mergeable(item)...)
		}
		return all
	}
	r.refuse(value, "<< takes a map, or a list of maps")
	return nil
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
}

func nullNode(at *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: at.Line, Column: at.Column}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// child returns the value of a map's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	_, value := entry(n, key)
	return value
}

// entry returns the nodes of a map's key and value, or nil.
func entry(n *yaml.Node, key string) (*yaml.Node, *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}
