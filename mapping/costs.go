package mapping

import (
	"math"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// affords takes account of a call of one of the library's functions before it is made. What a
// function may give is bounded by its arguments here, since nothing can be taken back once it has
// allocated.
func (m *machine) affords(name string, args []any) bool {
	var weight int64
	for _, arg := range args {
		one := m.weigh(arg)
		if weight += one; one > maxMade && isContainer(arg) {
			return m.makes(one)
		}
	}
	text := func(i int) string {
		if i < len(args) {
			s, _ := args[i].(string)
			return s
		}
		return ""
	}
	length := func(i int) int64 {
		if i < len(args) {
			list, _ := args[i].([]any)
			return int64(len(list))
		}
		return 0
	}
	switch name {
	case "replace":
		return m.looks(text(0)) && m.makes(int64(len(text(0)))+product(occurrences(text(0), text(1)), int64(len(text(2)))))
	case "join":
		return m.makes(weight + product(length(0), int64(len(text(1)))))
	case "split", "splitAfter":
		return m.looks(text(0)) && m.makes(product(occurrences(text(0), text(1))+1, 2*elementSize+16))
	case "trim": // the set of characters is looked through for each character
		return m.works(product(int64(len(text(0))), 1+int64(len(text(1)))) / bytesPerStep)
	case "trimPrefix", "trimSuffix", "hasPrefix", "hasSuffix", "indexOf", "lastIndexOf":
		return m.looks(text(0), text(1))
	case "toJSON":
		return m.makes(6*weight + m.indents(args[0], 0))
	case "fromJSON":
		return m.makes(product(weight, jsonGrowth))
	case "string":
		return text(0) != "" || m.makes(6*weight)
	case "int", "float":
		return m.works(readingCost(text(0)))
	case "uniq":
		return m.works(product(length(0), length(0)+max(0, weight-48*length(0))/16)/16) && m.makes(weight)
	case "sort":
		return m.works(length(0)*4*int64(bits.Len64(uint64(length(0))))) && m.makes(weight)
	case "date", "duration", "timezone":
		return m.looks(text(0), text(1), text(2)) && m.makes(4*weight)
	case "len", "type", "first", "last", "get", "take", "min", "max", "abs", "floor", "ceil", "round":
		return m.works(weight / bytesPerStep)
	}
	return m.makes(2 * weight)
}

// jsonGrowth is how many times its text decoded JSON is taken to need.
const jsonGrowth = 8

// indents is how much white space the library's JSON has, which is indented by depth.
func (m *machine) indents(v any, depth int64) (sum int64) {
	inside := func(element any) bool {
		sum += 2*depth + 8 + m.indents(element, depth+1)
		return sum <= maxMade && m.works(0)
	}
	switch x := v.(type) {
	case []any:
		for _, element := range x {
			if !inside(element) {
				return maxMade + 1
			}
		}
	case map[string]any:
		for _, member := range x {
			if !inside(member) {
				return maxMade + 1
			}
		}
	}
	return sum + 2*depth
}

// occurrences is how often a text has a part; between all its characters is the empty one.
func occurrences(text, part string) int64 {
	if part == "" {
		return int64(utf8.RuneCountInString(text)) + 1
	}
	return int64(strings.Count(text, part))
}

// product multiplies without overflow.
func product(a, b int64) int64 {
	if high, low := bits.Mul64(uint64(a), uint64(b)); high == 0 && low <= math.MaxInt64/4 {
		return int64(low)
	}
	return math.MaxInt64 / 4
}

// Bounds of exact numbers.
const (
	// maxDigits is how many characters a number may have that is read. PostgreSQL's longest have
	// 147,457.
	maxDigits = 150_000
	// maxBits bounds a number that is computed, as numerator and denominator.
	maxBits = 1 << 20
	// cheapBits is the size up to which numbers cost nothing worth counting.
	cheapBits = 1024
)

// readingCost is what it takes to read a text as a number, which goes by the square of its length.
func readingCost(text string) int64 {
	n := int64(len(text))
	if n > maxDigits {
		return n / bytesPerStep
	}
	return n * n / 20_000
}

// comparable takes account of a comparison.
func (m *machine) comparable(a, b any) bool {
	if isSmall(a) && isSmall(b) {
		return m.works(0)
	}
	for _, pair := range [2][2]any{{a, b}, {b, a}} {
		text, ok := textOf(pair[0])
		switch {
		case ok && isNumber(pair[1]) && !m.works(readingCost(text)):
			return false
		case ok && isContainer(pair[1]) && !m.makes(product(int64(len(text)), jsonGrowth)):
			return false
		}
	}
	return m.walkable(a, b)
}

func isSmall(v any) bool {
	switch v.(type) {
	case int, bool:
		return true
	}
	return false
}

func isContainer(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

// bits is how large a number is.
func (d *decimal) bits() int {
	if d.rat == nil {
		return 0
	}
	return d.rat.Num().BitLen() + d.rat.Denom().BitLen()
}

// computable takes account of arithmetic. Its result is no larger than its operands together, or
// the base as often as a power has it; reducing a fraction takes the square of its size.
func (m *machine) computable(op string, a, b any) bool {
	_, smallA := a.(int)
	_, smallB := b.(int)
	if smallA && smallB && op != "**" && op != "^" {
		return m.works(0)
	}
	x, _ := asDecimal(a)
	y, _ := asDecimal(b)
	size := x.bits() + y.bits()
	if n, isInt := b.(int); isInt && (op == "**" || op == "^") {
		size = x.bits() * min(max(n, -n), maxPower)
	}
	if size <= cheapBits {
		return m.works(0)
	}
	words := int64(size / 64)
	if size > maxBits {
		words = maxMade
	}
	return m.makes(words*8) && m.works(words*words/16)
}
