package capture

// LeadingDigits counts the digits that text begins with.
func LeadingDigits(text []byte) int {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}

// IsInteger reports whether text is a whole number as JSON writes them.
func IsInteger(text []byte) bool {
	if len(text) > 0 && text[0] == '-' {
		text = text[1:]
	}
	return len(text) > 0 && LeadingDigits(text) == len(text) && (text[0] != '0' || len(text) == 1)
}

// IsNumber reports whether text is a number as JSON writes them.
func IsNumber(text []byte) bool {
	whole := 0
	if len(text) > 0 && text[0] == '-' {
		whole = 1
	}
	whole += LeadingDigits(text[whole:])
	if !IsInteger(text[:whole]) {
		return false
	}
	rest := text[whole:]
	if len(rest) > 0 && rest[0] == '.' {
		n := LeadingDigits(rest[1:])
		if n == 0 {
			return false
		}
		rest = rest[1+n:]
	}
	if len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		n := LeadingDigits(rest)
		if n == 0 {
			return false
		}
		rest = rest[n:]
	}
	return len(rest) == 0
}
