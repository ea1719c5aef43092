package postgres

import "rowhook/capture"

// Times arrive as DateStyle ISO and TimeZone UTC write them.

// appendDate writes the text as it is: ISO, infinity, and beyond what ISO dates can
// say (BC, years above 9999) what the database says.
func appendDate(dst, text []byte) ([]byte, bool) {
	if isDate(text) || isInfinity(text) || isFarDate(text) {
		return quoted(dst, text)
	}
	return misfit(dst, text)
}

// appendTimestamp writes ISO 8601 without a zone and with six digits.
func appendTimestamp(dst, text []byte) ([]byte, bool) {
	if len(text) > 10 && text[10] == ' ' && isDate(text[:10]) {
		if micros, rest, ok := splitTime(text[11:]); ok && len(rest) == 0 {
			dst = append(append(dst, '"'), text[:10]...)
			dst = appendMicros(append(dst, 'T'), text[11:19], micros)
			return append(dst, '"'), true
		}
	}
	if isInfinity(text) || isFarDate(text) {
		return quoted(dst, text)
	}
	return misfit(dst, text)
}

// appendTimestamptz writes RFC 3339 in UTC with six digits.
func appendTimestamptz(dst, text []byte) ([]byte, bool) {
	if len(text) > 10 && text[10] == ' ' && isDate(text[:10]) {
		if micros, rest, ok := splitTime(text[11:]); ok && string(rest) == "+00" {
			dst = append(append(dst, '"'), text[:10]...)
			dst = appendMicros(append(dst, 'T'), text[11:19], micros)
			return append(dst, 'Z', '"'), true
		}
	}
	if isInfinity(text) || isFarDate(text) {
		return quoted(dst, text)
	}
	return misfit(dst, text)
}

// appendTime writes a time of day with six digits; a zone stays as it is.
func appendTime(dst, text []byte) ([]byte, bool) {
	micros, zone, ok := splitTime(text)
	if !ok || !isZone(zone) {
		return misfit(dst, text)
	}
	dst = appendMicros(append(dst, '"'), text[:8], micros)
	return append(append(dst, zone...), '"'), true
}

// isDate reports whether text is YYYY-MM-DD.
func isDate(text []byte) bool {
	return len(text) == 10 && text[4] == '-' && text[7] == '-' &&
		allDigits(text[:4]) && allDigits(text[5:7]) && allDigits(text[8:])
}

// isFarDate reports whether text is made of what dates and times are made of. With
// isDate ruled out, that is a year BC or above 9999.
func isFarDate(text []byte) bool {
	if capture.LeadingDigits(text) < 4 {
		return false
	}
	for _, c := range text {
		if !isDigit(c) && c != '-' && c != ':' && c != '.' && c != '+' && c != ' ' && c != 'B' && c != 'C' {
			return false
		}
	}
	return true
}

func isInfinity(text []byte) bool {
	return string(text) == "infinity" || string(text) == "-infinity"
}

// splitTime takes HH:MM:SS[.ffffff] apart; rest is what follows.
func splitTime(text []byte) (micros, rest []byte, ok bool) {
	if len(text) < 8 || text[2] != ':' || text[5] != ':' ||
		!allDigits(text[:2]) || !allDigits(text[3:5]) || !allDigits(text[6:8]) {
		return nil, nil, false
	}
	rest = text[8:]
	if len(rest) > 0 && rest[0] == '.' {
		n := capture.LeadingDigits(rest[1:])
		if n == 0 || n > 6 {
			return nil, nil, false
		}
		micros, rest = rest[1:1+n], rest[1+n:]
	}
	return micros, rest, true
}

func appendMicros(dst, seconds, micros []byte) []byte {
	dst = append(append(dst, seconds...), '.')
	dst = append(dst, micros...)
	return append(dst, "000000"[len(micros):]...)
}

// isZone reports whether text is empty or an offset such as +05:30.
func isZone(text []byte) bool {
	if len(text) == 0 {
		return true
	}
	if text[0] != '+' && text[0] != '-' {
		return false
	}
	for _, c := range text[1:] {
		if !isDigit(c) && c != ':' {
			return false
		}
	}
	return len(text) > 1
}
