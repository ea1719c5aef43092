package delivery

import "encoding/binary"

// Mark says what is to be looked at where [Event.Marks] points. Marks are stored in the spool.
type Mark = byte

// The marks.
const (
	MarkRewrite Mark = iota // a value that JavaScript might write in another way: it is read and written anew
	MarkDate                // a date, of the outermost object
	MarkInstant             // a time with a zone, of the outermost object
	markBits    = 2
)

// AppendMark appends a mark. skip is how many bytes lie between the mark before, or the payload's
// beginning, and this one's value.
func AppendMark(marks []byte, skip int, mark Mark) []byte {
	return binary.AppendUvarint(marks, uint64(skip)<<markBits|uint64(mark))
}

// NextMark takes the first mark off. ok is false for what was not written by [AppendMark].
func NextMark(marks []byte) (skip int, mark Mark, rest []byte, ok bool) {
	v, n := binary.Uvarint(marks)
	if n <= 0 || v>>markBits > 1<<40 {
		return 0, 0, nil, false
	}
	return int(v >> markBits), byte(v & (1<<markBits - 1)), marks[n:], true
}

// IsIndex reports whether JavaScript takes a member's name for an array index, a whole number below
// 2^32−1 written plainly, and puts it before the others.
func IsIndex[S ~string | ~[]byte](name S) bool {
	if len(name) == 0 || len(name) > 10 || name[0] == '0' && len(name) > 1 {
		return false
	}
	n := uint64(0)
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return false
		}
		n = n*10 + uint64(name[i]-'0')
	}
	return n < 1<<32-1
}
