package try

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// lineDifference is a line that only one of two texts has: - the first, + the second.
type lineDifference struct {
	sign rune
	line string
}

// splitLines returns a text's lines without their ends; blank ones are left out.
func splitLines(text []byte) []string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// maxDifference bounds the table in which the longest common part is looked for.
const maxDifference = 4 << 20

// lineDifferences returns what to take from a and what to add to make b of it, in order. Beyond a
// size, all that lies between the first and the last difference counts as one.
func lineDifferences(a, b []string) []lineDifference {
	var out []lineDifference
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	width := len(b) + 1
	common := make([]int32, 0)
	if len(a) <= maxDifference/width {
		common = commonLengths(a, b)
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j] && len(common) > 0:
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || len(common) == 0 || common[(i+1)*width+j] >= common[i*width+j+1]):
			out = append(out, lineDifference{'-', a[i]})
			i++
		default:
			out = append(out, lineDifference{'+', b[j]})
			j++
		}
	}
	return out
}

// commonLengths holds, for each pair of places, how many lines the rests have in common, row by
// row.
func commonLengths(a, b []string) []int32 {
	width := len(b) + 1
	common := make([]int32, (len(a)+1)*width)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	return common
}

// Compare writes line by line what a file has and what came instead.
func Compare(w io.Writer, file string, want, got []byte) (same bool, err error) {
	missing, more := 0, 0
	var b bytes.Buffer
	for _, d := range lineDifferences(splitLines(want), splitLines(got)) {
		switch d.sign {
		case '-':
			missing++
		case '+':
			more++
		}
		fmt.Fprintf(&b, "%c %s\n", d.sign, d.line)
	}
	if missing+more == 0 {
		return true, nil
	}
	fmt.Fprintf(&b, "%s: %s missing (-), %s not expected (+). If that is right: --update\n", file, numberOf(missing, "line"), numberOf(more, "line"))
	_, err = io.Copy(w, &b)
	return false, err
}

// numberOf writes a number of things.
func numberOf(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
