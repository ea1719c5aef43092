package mapping

import (
	"cmp"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Numbers in expressions are exact. An integer that fits is an int; everything else,
// floats included, is a decimal made from the database's text, so that 0.1
// equals 0.1 whatever the column's type, and no digit of a bigint or numeric is lost.

// maxExponent bounds what a number may cost: a few characters such as 1e999999999 must not take
// gigabytes.
const maxExponent = 20_000

// special marks the numbers that are not on the number line.
type special int8

const (
	finite special = iota
	negInfinity
	posInfinity
	notANumber
)

// decimal is an exact number that is no int. It is immutable.
type decimal struct {
	rat     *big.Rat
	special special
}

// parseNumber reads a database's or JSON's number. ok is false when it is none.
func parseNumber(text string) (number any, ok bool) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return int(i), true
	}
	if len(text) > maxDigits {
		return nil, false
	}
	switch text {
	case "NaN":
		return &decimal{special: notANumber}, true
	case "Infinity":
		return &decimal{special: posInfinity}, true
	case "-Infinity":
		return &decimal{special: negInfinity}, true
	}
	if !plainNumber(text) {
		return nil, false
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, false
	}
	return &decimal{rat: r}, true
}

// plainNumber reports whether text is a decimal number with a bearable exponent,
// leaving out what big.Rat takes besides: fractions, hexadecimal, underscores.
func plainNumber(text string) bool {
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(text), "e")
	if hasExponent {
		if n, err := strconv.Atoi(exponent); err != nil || n > maxExponent || n < -maxExponent {
			return false
		}
	}
	if mantissa != "" && (mantissa[0] == '-' || mantissa[0] == '+') {
		mantissa = mantissa[1:]
	}
	digits := 0
	for i := range len(mantissa) {
		switch c := mantissa[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c != '.':
			return false
		}
	}
	return digits > 0
}

// asDecimal takes any number an expression can hold.
func asDecimal(v any) (*decimal, bool) {
	switch n := v.(type) {
	case int:
		return &decimal{rat: new(big.Rat).SetInt64(int64(n))}, true
	case *decimal:
		return n, true
	case float64:
		return decimalOfFloat(n), true
	}
	return nil, false
}

// decimalOfFloat takes the float's shortest decimal form, as the databases print it.
func decimalOfFloat(f float64) *decimal {
	switch {
	case math.IsNaN(f):
		return &decimal{special: notANumber}
	case math.IsInf(f, 1):
		return &decimal{special: posInfinity}
	case math.IsInf(f, -1):
		return &decimal{special: negInfinity}
	}
	r, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return &decimal{rat: r}
}

// compareNumbers orders two numbers as PostgreSQL does: NaN equals itself and is above all.
func compareNumbers(a, b any) int {
	if x, ok := a.(int); ok {
		if y, ok := b.(int); ok {
			return cmp.Compare(x, y)
		}
	}
	x, _ := asDecimal(a)
	y, _ := asDecimal(b)
	if x.special == finite && y.special == finite {
		return x.rat.Cmp(y.rat)
	}
	return cmp.Compare(x.rank(), y.rank())
}

// rank orders the special numbers around the finite ones.
func (d *decimal) rank() int {
	switch d.special {
	case negInfinity:
		return -1
	case posInfinity:
		return 1
	case notANumber:
		return 2
	}
	return 0
}

// reduce gives an int where the value is one that fits, so that one value has one form.
func (d *decimal) reduce() any {
	if d.special == finite && d.rat.IsInt() && d.rat.Num().IsInt64() {
		return int(d.rat.Num().Int64())
	}
	return d
}

// float is the nearest float64, for the library's functions.
func (d *decimal) float() float64 {
	switch d.special {
	case negInfinity:
		return math.Inf(-1)
	case posInfinity:
		return math.Inf(1)
	case notANumber:
		return math.NaN()
	}
	f, _ := d.rat.Float64()
	return f
}

// String writes all digits of a finite decimal fraction; others, such as 1/3, with 20 digits behind
// the point.
func (d *decimal) String() string {
	switch d.special {
	case negInfinity:
		return "-Infinity"
	case posInfinity:
		return "Infinity"
	case notANumber:
		return "NaN"
	}
	digits, exact := d.rat.FloatPrec()
	if !exact {
		digits = 20
	}
	return d.rat.FloatString(digits)
}

// calculate applies an arithmetic operator. ok is false for a division by zero, or where there is
// no such result.
func calculate(op string, a, b any) (result any, ok bool) {
	if x, isInt := a.(int); isInt {
		if y, isInt := b.(int); isInt {
			if r, ok := calculateInts(op, x, y); ok {
				return r, true
			}
		}
	}
	x, _ := asDecimal(a)
	y, _ := asDecimal(b)
	if x.special != finite || y.special != finite {
		return calculateSpecial(op, x, y)
	}
	r := new(big.Rat)
	switch op {
	case "+":
		r.Add(x.rat, y.rat)
	case "-":
		r.Sub(x.rat, y.rat)
	case "*":
		r.Mul(x.rat, y.rat)
	case "/":
		if y.rat.Sign() == 0 {
			return nil, false
		}
		r.Quo(x.rat, y.rat)
	case "%":
		if y.rat.Sign() == 0 || !x.rat.IsInt() || !y.rat.IsInt() {
			return nil, false
		}
		r.SetInt(new(big.Int).Rem(x.rat.Num(), y.rat.Num()))
	case "**", "^":
		return power(x.rat, b)
	default:
		return nil, false
	}
	return (&decimal{rat: r}).reduce(), true
}

// calculateSpecial is PostgreSQL's arithmetic beyond the number line: infinity plus one is infinity,
// infinity less itself is no number.
func calculateSpecial(op string, x, y *decimal) (any, bool) {
	if x.special == notANumber || y.special == notANumber {
		return &decimal{special: notANumber}, true
	}
	signs := x.sign() * y.sign()
	switch op {
	case "-":
		y = y.negated()
		fallthrough
	case "+":
		if x.special != finite && y.special != finite && x.special != y.special {
			break
		}
		if x.special != finite {
			return x, true
		}
		return y, true
	case "/":
		switch {
		case y.special == finite && y.sign() == 0:
			return nil, false
		case x.special == finite:
			return 0, true
		case y.special == finite:
			return infinite(signs), true
		}
	case "*":
		if signs != 0 {
			return infinite(signs), true
		}
	case "%":
		switch {
		case y.special == finite && y.sign() == 0:
			return nil, false
		case x.special == finite:
			return x.reduce(), true
		}
	default:
		return nil, false
	}
	return &decimal{special: notANumber}, true
}

func infinite(sign int) *decimal {
	if sign < 0 {
		return &decimal{special: negInfinity}
	}
	return &decimal{special: posInfinity}
}

func (d *decimal) sign() int {
	if d.special == finite {
		return d.rat.Sign()
	}
	return d.rank()
}

func (d *decimal) negated() *decimal {
	if d.special == finite {
		return &decimal{rat: new(big.Rat).Neg(d.rat)}
	}
	return infinite(-d.rank())
}

// calculateInts does without big numbers where the result cannot overflow.
func calculateInts(op string, x, y int) (any, bool) {
	const safe = math.MaxInt32
	switch {
	case op == "%" && y > 0:
		return x % y, true
	case x > safe || x < -safe || y > safe || y < -safe:
		return nil, false
	case op == "+":
		return x + y, true
	case op == "-":
		return x - y, true
	case op == "*":
		return x * y, true
	}
	return nil, false
}

// maxPower is the highest exponent.
const maxPower = 64

// power takes small whole exponents only; nothing else has an exact result worth its cost.
func power(base *big.Rat, exponent any) (any, bool) {
	n, ok := exponent.(int)
	if !ok || n < -maxPower || n > maxPower || n < 0 && base.Sign() == 0 {
		return nil, false
	}
	r := big.NewRat(1, 1)
	for range max(n, -n) {
		r.Mul(r, base)
	}
	if n < 0 {
		r.Inv(r)
	}
	return (&decimal{rat: r}).reduce(), true
}
