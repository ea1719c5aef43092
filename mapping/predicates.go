package mapping

// predicates are the functions that walk a list with a condition or a computation per
// element. The list is the first argument, the predicate the second.
var predicates = map[string]func(m *machine, args []node) any{
	"all":   func(m *machine, args []node) any { return m.search(args, false, false) },
	"any":   func(m *machine, args []node) any { return m.search(args, true, true) },
	"none":  func(m *machine, args []node) any { return m.search(args, true, false) },
	"one":   func(m *machine, args []node) any { return m.counted(args, func(n int) any { return n == 1 }) },
	"count": func(m *machine, args []node) any { return m.counted(args, func(n int) any { return n }) },
	"filter": func(m *machine, args []node) any {
		list, _ := m.kept(args)
		return list
	},
	"find": func(m *machine, args []node) any {
		kept, _ := m.kept(args)
		if list, ok := kept.([]any); ok && len(list) > 0 {
			return list[0]
		} else if ok {
			return nil
		}
		return kept
	},
	"map":    (*machine).mapped,
	"sum":    (*machine).summed,
	"reduce": (*machine).reduced,
}

// walk calls yield with the predicate's value for each element until it returns false.
// It returns nil, or what the whole function gives instead: NULL or unknown.
func (m *machine) walk(args []node, yield func(e *element, v any) bool) (instead any, ok bool) {
	v := args[0](m)
	if v == nil || isUnknown(v) {
		return v, false
	}
	list, isList := v.([]any)
	if !isList {
		return m.fail("a %s is walked like a list", kindName(v)), false
	}
	m.element = append(m.element, element{})
	defer func() { m.element = m.element[:len(m.element)-1] }()
	depth := len(m.element) - 1
	for i := range list {
		if m.e.cost.err != nil {
			return unknown{}, false
		}
		m.element[depth].value, m.element[depth].index = list[i], i
		v := args[1](m)
		if !yield(&m.element[depth], v) {
			break
		}
	}
	return nil, true
}

// search looks for an element whose predicate is wanted, and answers found when there is
// one. Unknown elements leave the answer open only while no other settles it.
func (m *machine) search(args []node, wanted, found bool) any {
	answer := any(!found)
	instead, ok := m.walk(args, func(_ *element, v any) bool {
		switch b := m.boolean(v); b {
		case wanted:
			answer = found
			return false
		case unknown{}:
			answer = unknown{}
		}
		return true
	})
	if !ok {
		return instead
	}
	return answer
}

// kept gives the elements whose predicate holds; any unknown one makes the list unknown.
func (m *machine) kept(args []node) (list any, ok bool) {
	kept, missing := []any{}, false
	instead, ok := m.walk(args, func(e *element, v any) bool {
		b := m.boolean(v)
		missing = isUnknown(b)
		if b == true {
			kept = append(kept, e.value)
		}
		missing = missing || !m.makes(elementSize)
		return !missing
	})
	switch {
	case !ok:
		return instead, false
	case missing:
		return unknown{}, false
	}
	return kept, true
}

func (m *machine) counted(args []node, answer func(int) any) any {
	kept, ok := m.kept(args)
	if !ok {
		return kept
	}
	return answer(len(kept.([]any)))
}

func (m *machine) mapped(args []node) any {
	var list []any
	missing := false
	instead, ok := m.walk(args, func(_ *element, v any) bool {
		missing = isUnknown(v) || !m.makes(elementSize)
		list = append(list, v)
		return !missing
	})
	switch {
	case !ok:
		return instead
	case missing:
		return unknown{}
	}
	return list
}

func (m *machine) summed(args []node) any {
	total := any(0)
	instead, ok := m.walk(args, func(_ *element, v any) bool {
		total = m.arithmetic("+", total, v)
		return total != nil && !isUnknown(total)
	})
	if !ok {
		return instead
	}
	return total
}

// reduced starts with the third argument, or else with the first element.
func (m *machine) reduced(args []node) any {
	var acc any
	started := len(args) > 2
	if started {
		acc = args[2](m)
	}
	list := args[0](m)
	elements, isList := list.([]any)
	if !isList {
		if list == nil || isUnknown(list) {
			return list
		}
		return m.fail("a %s is walked like a list", kindName(list))
	}
	if !started && len(elements) > 0 {
		acc, elements = elements[0], elements[1:]
	}
	for i, v := range elements {
		if m.e.cost.err != nil {
			return unknown{}
		}
		m.element = append(m.element, element{value: v, index: i, acc: acc})
		acc = args[1](m)
		m.element = m.element[:len(m.element)-1]
	}
	return acc
}
