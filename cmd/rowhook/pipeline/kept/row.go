package kept

import (
	"encoding/binary"
	"errors"
	"fmt"

	"rowhook/capture"
)

const (
	rowVersion = 1
	// maxValue is how many bytes a value may have that is kept. A larger one is not known afterwards.
	maxValue = 256 << 10
)

// What a row's value tells of a column.
const (
	valueUnknown = iota
	valueNull
	valuePresent
)

var errNoRow = errors.New("an index of kept rows has a row that is not kept")

var errMalformed = errors.New("kept row does not follow the format")

// appendValue writes what is known of one column.
func appendValue(dst []byte, v capture.Value) []byte {
	switch {
	case v.State == capture.Null:
		return append(dst, valueNull)
	case v.State == capture.Present && len(v.Text) <= maxValue:
		dst = binary.AppendUvarint(append(dst, valuePresent), uint64(len(v.Text)))
		return append(dst, v.Text...)
	}
	return append(dst, valueUnknown)
}

// readRow reads a row's value into as many columns as there are in dst. The texts belong to b.
func readRow(dst []capture.Value, b []byte) error {
	if len(b) == 0 || b[0] != rowVersion {
		return fmt.Errorf("%w: version", errMalformed)
	}
	b = b[1:]
	for i := range dst {
		if len(b) == 0 {
			return errMalformed
		}
		kind := b[0]
		b = b[1:]
		switch kind {
		case valueUnknown:
			dst[i] = capture.Value{}
		case valueNull:
			dst[i] = capture.Value{State: capture.Null}
		case valuePresent:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errMalformed
			}
			end := n + int(size)
			dst[i] = capture.Value{State: capture.Present, Text: b[n:end:end]}
			b = b[end:]
		default:
			return errMalformed
		}
	}
	if len(b) > 0 {
		return errMalformed
	}
	return nil
}
