package mapping

import (
	"math/big"
	"slices"
)

// exactFunctions stand in for those of the library's functions that would round numbers to float64.
// The others take numerics as the nearest one. ok is false for values they do not take.
var exactFunctions = map[string]func(args []any) (result any, ok bool){
	"abs": func(args []any) (any, bool) {
		if !oneNumber(args) {
			return nil, false
		}
		if compareNumbers(args[0], 0) < 0 {
			return calculate("-", 0, args[0])
		}
		return args[0], true
	},
	"min":   func(args []any) (any, bool) { return extreme(args, -1) },
	"max":   func(args []any) (any, bool) { return extreme(args, 1) },
	"floor": func(args []any) (any, bool) { return wholeNumber(args, new(big.Rat)) },
	"round": roundNumber,
	"ceil": func(args []any) (any, bool) {
		if !oneNumber(args) {
			return nil, false
		}
		d, _ := asDecimal(args[0])
		if d.special != finite {
			return d, true
		}
		below, ok := wholeNumber([]any{&decimal{rat: new(big.Rat).Neg(d.rat)}}, new(big.Rat))
		if !ok {
			return nil, false
		}
		return calculate("-", 0, below)
	},
	"int": func(args []any) (any, bool) {
		if s, isText := args[0].(string); isText {
			n, ok := parseNumber(s)
			_, isInt := n.(int)
			return n, ok && isInt
		}
		if !oneNumber(args) {
			return nil, false
		}
		d, _ := asDecimal(args[0])
		if d.special != finite {
			return nil, false
		}
		return (&decimal{rat: new(big.Rat).SetInt(new(big.Int).Quo(d.rat.Num(), d.rat.Denom()))}).reduce(), true
	},
	"string": func(args []any) (any, bool) {
		if s, isText := args[0].(string); isText {
			return s, len(args) == 1
		}
		return string(appendPlain(nil, args[0])), len(args) == 1
	},
}

// appendPlain appends a value's text: that of its JSON, without the quotes of a string.
func appendPlain(dst []byte, v any) []byte {
	text := appendValue(dst, v)
	if s, isText := unquote(text); isText {
		return append(dst, s...)
	}
	return text
}

func oneNumber(args []any) bool { return len(args) == 1 && isNumber(args[0]) }

// extreme is the least (-1) or the greatest (1) of numbers or of a list of numbers.
func extreme(args []any, sign int) (any, bool) {
	if len(args) == 1 {
		if list, isList := args[0].([]any); isList {
			args = list
		}
	}
	if len(args) == 0 || slices.ContainsFunc(args, func(v any) bool { return !isNumber(v) }) {
		return nil, false
	}
	best := args[0]
	for _, v := range args[1:] {
		if compareNumbers(v, best) == sign {
			best = v
		}
	}
	return best, true
}

// roundNumber rounds half away from zero.
func roundNumber(args []any) (any, bool) {
	half := big.NewRat(1, 2)
	if !oneNumber(args) {
		return nil, false
	}
	if compareNumbers(args[0], 0) >= 0 {
		return wholeNumber(args, half)
	}
	negated, ok := calculate("-", 0, args[0])
	if !ok {
		return nil, false
	}
	rounded, ok := wholeNumber([]any{negated}, half)
	if !ok {
		return nil, false
	}
	return calculate("-", 0, rounded)
}

// wholeNumber is the greatest integer that is not above the number plus shift.
func wholeNumber(args []any, shift *big.Rat) (any, bool) {
	if !oneNumber(args) {
		return nil, false
	}
	d, _ := asDecimal(args[0])
	if d.special != finite {
		return d, true
	}
	moved := new(big.Rat).Add(d.rat, shift)
	// Euclidean division rounds down, as denominators are above zero.
	return (&decimal{rat: new(big.Rat).SetInt(new(big.Int).Div(moved.Num(), moved.Denom()))}).reduce(), true
}
