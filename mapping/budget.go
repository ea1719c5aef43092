package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"time"
	"unicode/utf8"
)

// Bounds of what the expressions of one mapping entry may cost for one change. They are counted,
// not measured, so that a change gives the same events on a slow machine, too.
const (
	// maxMade is how many bytes the expressions may make in all: texts, lists, decoded JSON.
	maxMade = 64 << 20
	// maxSteps is how much they may compute. A step is about what one operator costs, or looking at
	// 256 bytes of a text.
	maxSteps = 10_000_000
	// maxPattern is how long a regular expression that comes from a value may be.
	maxPattern = 1000
	// bytesPerStep is how much of a text one step looks at.
	bytesPerStep = 256
	// bytesPerMatch is the same for one instruction of a regular expression.
	bytesPerMatch = 16
)

var (
	errMadeTooMuch  = fmt.Errorf("the entry's expressions make more than %d MiB of one change", maxMade>>20)
	errTooManySteps = fmt.Errorf("the entry's expressions take more than %d steps for one change", maxSteps)
)

// cost is what an entry's expressions have cost so far.
type cost struct {
	made, steps int64
	err         error // set once a bound is passed: nothing is computed from then on
}

// makes takes account of bytes that are about to be made, and of the work of making them. It
// returns false when they must not be.
func (m *machine) makes(bytes int64) bool {
	c := &m.e.cost
	if c.made += bytes; bytes > maxMade || c.made > maxMade {
		m.over(errMadeTooMuch)
	}
	return m.works(bytes / bytesPerStep)
}

// works takes account of computing. It returns false when it must not go on.
func (m *machine) works(steps int64) bool {
	c := &m.e.cost
	if c.steps += steps + 1; steps > maxSteps || c.steps > maxSteps {
		m.over(errTooManySteps)
	}
	return c.err == nil
}

func (m *machine) over(err error) {
	c := &m.e.cost
	if c.err == nil {
		c.err = err
	}
	if m.err == nil {
		m.err = c.err
	}
}

// looks takes account of looking through texts.
func (m *machine) looks(texts ...string) bool {
	n := 0
	for _, s := range texts {
		n += len(s)
	}
	return m.works(int64(n / bytesPerStep))
}

// Sizes of values in memory beside what they hold.
const (
	elementSize = 32 // an element of a list, with what its growth wastes
	memberSize  = 64 // a member of an object
)

// weigh returns about how many bytes a value takes, or its JSON. Expressions can make lists that
// hold one value many times, so that a value of a few bytes is endless when it is walked: each part
// that is met is counted as work, and the weight of a value that must not be walked is beyond
// maxMade.
func (m *machine) weigh(v any) int64 {
	switch x := v.(type) {
	case string:
		return int64(len(x)) + 16
	case sensed:
		return int64(len(x.text)) + 24
	case *decimal:
		n := int64(x.bits())
		if words := n / 64; n > cheapBits && !m.works(words*words/64) { // what is done with a number goes by its square
			return maxMade + 1
		}
		return n/8 + 16
	case []any:
		sum := int64(elementSize)
		for _, element := range x {
			if sum += elementSize + m.weigh(element); sum > maxMade || !m.works(0) {
				return maxMade + 1
			}
		}
		return sum
	case map[string]any:
		sum := int64(memberSize)
		for name, member := range x {
			if sum += memberSize + int64(len(name)) + m.weigh(member); sum > maxMade || !m.works(0) {
				return maxMade + 1
			}
		}
		return sum
	}
	return 16
}

// walkable takes account of walking through values as deep as they go.
func (m *machine) walkable(values ...any) bool {
	for _, v := range values {
		weight := m.weigh(v)
		if weight > maxMade && isContainer(v) {
			m.over(errMadeTooMuch)
		}
		if !m.works(weight / bytesPerStep) {
			return false
		}
	}
	return true
}

// predicate is what is computed for each element of a list; nodes is how large it is.
func predicate(body node, nodes int) node {
	return func(m *machine) any {
		if !m.works(int64(nodes)) {
			return unknown{}
		}
		return body(m)
	}
}

// pattern is a regular expression with what it costs.
type pattern struct {
	*regexp.Regexp
	instructions int
}

// newPattern compiles a regular expression.
func newPattern(text string) (*pattern, error) {
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	return &pattern{compiled, len(program.Inst)}, nil
}

// matches looks for the pattern in a text. The engine's time is that of the text times the pattern
// at worst.
func (m *machine) matches(p *pattern, text string) any {
	if !m.works(int64(len(text)) * int64(16+p.instructions) / bytesPerMatch) {
		return unknown{}
	}
	return p.MatchString(text)
}

// valuePattern compiles a regular expression that comes from a value.
func (m *machine) valuePattern(text string) (*pattern, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("a pattern from a value has at most %d bytes", maxPattern)
	}
	compiled, err := newPattern(text)
	switch {
	case err != nil:
		return nil, errors.New("the pattern is no regular expression")
	case !m.makes(int64(compiled.instructions) * 64):
		return nil, m.e.cost.err
	}
	return compiled, nil
}

// cutCost is what a part of a text costs, which is found character by character.
func cutCost(text string) int64 { return int64(utf8.UTFMax+1) * int64(len(text)) }

// formatCost bounds what a time's layout gives.
func formatCost(args []any) (cost int64) {
	for _, arg := range args {
		if layout, ok := arg.(string); ok {
			cost += int64(len(time.RFC850)) * int64(len(layout))
		}
	}
	return cost
}
