package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// terminal is somebody who can be asked.
type terminal struct {
	in  *os.File
	out *console
}

// terminalOf is the terminal that a command was started on; nil where there is none.
func terminalOf(c *console) *terminal {
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &terminal{in: f, out: c}
	}
	return nil
}

// ask reads one line, byte by byte: what follows it is the next question's.
func (t *terminal) ask(question string) (string, error) {
	fmt.Fprint(t.out.err, question)
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := t.in.Read(one)
		if n == 1 && one[0] == '\n' {
			return strings.TrimSpace(string(line)), nil
		}
		if n == 1 {
			line = append(line, one[0])
		}
		if err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
	}
}

// askSecret reads one line that is not shown.
func (t *terminal) askSecret(question string) (string, error) {
	fmt.Fprint(t.out.err, question)
	secret, err := term.ReadPassword(int(t.in.Fd()))
	fmt.Fprintln(t.out.err)
	if err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return string(secret), nil
}
