package mysql

import (
	"strconv"
	"time"
)

// Times lie in a row image as big-endian numbers of bit fields, followed by the fraction
// in as few bytes as its digits need. Zero and partial dates are written as they are.

func appendYear(_ *column, dst, v []byte) ([]byte, error) {
	if v[0] == 0 {
		return append(dst, "0000"...), nil
	}
	return strconv.AppendInt(dst, 1900+int64(v[0]), 10), nil
}

func appendDate(_ *column, dst, v []byte) ([]byte, error) {
	n := littleEndian(v)
	return appendYMD(dst, n>>9, n>>5&15, n&31), nil
}

func appendYMD(dst []byte, year, month, day uint64) []byte {
	dst = append(appendDigits(dst, year, 4), '-')
	dst = append(appendDigits(dst, month, 2), '-')
	return appendDigits(dst, day, 2)
}

// appendHMS writes a time of day, or a span of up to 838 hours.
func appendHMS(dst []byte, hour, minute, second uint64) []byte {
	digits := 2
	if hour > 99 {
		digits = 3
	}
	dst = append(appendDigits(dst, hour, digits), ':')
	dst = append(appendDigits(dst, minute, 2), ':')
	return appendDigits(dst, second, 2)
}

// appendFraction writes the column's digits of a fraction in units of its bytes.
func appendFraction(dst []byte, n uint64, width, digits int) []byte {
	if digits == 0 {
		return dst
	}
	// A byte holds two digits: one of an odd number is a zero that the column does not have.
	if 2*width > digits {
		n /= 10
	}
	return appendDigits(append(dst, '.'), n, digits)
}

func appendDatetime(c *column, dst, v []byte) ([]byte, error) {
	n := bigEndian(v[:5])
	date, clock := n>>17&(1<<22-1), n&(1<<17-1)
	dst = appendYMD(dst, date>>5/13, date>>5%13, date&31)
	dst = appendHMS(append(dst, ' '), clock>>12, clock>>6&63, clock&63)
	return appendFraction(dst, bigEndian(v[5:]), len(v)-5, c.digits), nil
}

func appendOldDatetime(_ *column, dst, v []byte) ([]byte, error) {
	n := littleEndian(v)
	date, clock := n/1_000_000, n%1_000_000
	dst = appendYMD(dst, date/10_000, date/100%100, date%100)
	return appendHMS(append(dst, ' '), clock/10_000, clock/100%100, clock%100), nil
}

func appendTimestamp(c *column, dst, v []byte) ([]byte, error) {
	return appendUnix(dst, bigEndian(v[:4]), bigEndian(v[4:]), len(v)-4, c.digits), nil
}

func appendOldTimestamp(_ *column, dst, v []byte) ([]byte, error) {
	return appendUnix(dst, littleEndian(v), 0, 0, 0), nil
}

// appendUnix writes a time in UTC with its offset. 0 is the zero timestamp.
func appendUnix(dst []byte, seconds, fraction uint64, width, digits int) []byte {
	if seconds == 0 && fraction == 0 {
		return appendFraction(append(dst, "0000-00-00 00:00:00"...), 0, width, digits)
	}
	dst = time.Unix(int64(seconds), 0).UTC().AppendFormat(dst, "2006-01-02 15:04:05")
	return append(appendFraction(dst, fraction, width, digits), "+00"...)
}

// appendTime writes a span of hours, minutes and seconds, which may be negative. It lies as an
// offset from the middle of its range, fraction included.
func appendTime(c *column, dst, v []byte) ([]byte, error) {
	width := len(v) - 3
	n := int64(bigEndian(v)) - 1<<(8*len(v)-1)
	if n < 0 {
		n = -n
		dst = append(dst, '-')
	}
	clock, fraction := uint64(n)>>(8*width), uint64(n)&(1<<(8*width)-1)
	dst = appendHMS(dst, clock>>12&1023, clock>>6&63, clock&63)
	return appendFraction(dst, fraction, width, c.digits), nil
}

func appendOldTime(_ *column, dst, v []byte) ([]byte, error) {
	n := int64(littleEndian(v)) << 40 >> 40
	if n < 0 {
		n = -n
		dst = append(dst, '-')
	}
	return appendHMS(dst, uint64(n)/10_000, uint64(n)/100%100, uint64(n)%100), nil
}

// A fraction in MariaDB's older storage makes the whole a big-endian number of its units, in as few
// bytes as it needs.

// unitsOf is how many units of a fraction of so many digits make a second.
func unitsOf(digits int) uint64 {
	units := uint64(1)
	for range digits {
		units *= 10
	}
	return units
}

func appendHiresDatetime(c *column, dst, v []byte) ([]byte, error) {
	units := unitsOf(c.digits)
	n, fraction := bigEndian(v)/units, bigEndian(v)%units
	clock, date := n%(24*60*60), n/(24*60*60)
	dst = appendYMD(dst, date/32/13, date/32%13, date%32)
	dst = appendHMS(append(dst, ' '), clock/3600, clock/60%60, clock%60)
	return appendDigits(append(dst, '.'), fraction, c.digits), nil
}

// appendHiresTime writes a span of time, which lies as an offset from the least there is.
func appendHiresTime(c *column, dst, v []byte) ([]byte, error) {
	const zero = 838*3600 + 59*60 + 59 + 1
	units := unitsOf(c.digits)
	n := int64(bigEndian(v)) - int64(zero*units)
	if n < 0 {
		n = -n
		dst = append(dst, '-')
	}
	clock, fraction := uint64(n)/units, uint64(n)%units
	dst = appendHMS(dst, clock/3600, clock/60%60, clock%60)
	return appendDigits(append(dst, '.'), fraction, c.digits), nil
}

func appendHiresTimestamp(c *column, dst, v []byte) ([]byte, error) {
	return appendUnix(dst, bigEndian(v[:4]), bigEndian(v[4:]), 0, c.digits), nil
}
