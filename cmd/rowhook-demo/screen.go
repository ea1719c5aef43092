package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// screen prints the demonstration: on a terminal in colour, elsewhere as plain text.
type screen struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{out: out, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// The ways to write.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// chapter opens a part of the story.
func (s *screen) chapter(title string) { s.line("\n%s", s.paint(bold, title)) }

// done says that a step of the preparation has succeeded.
func (s *screen) done(format string, args ...any) {
	s.line("  %s %s", s.paint(green, "ok"), fmt.Sprintf(format, args...))
}

// aside explains.
func (s *screen) aside(format string, args ...any) {
	s.line("  %s", s.paint(dim, fmt.Sprintf(format, args...)))
}

// act says what the library does.
func (s *screen) act(a *act) {
	s.line("  %s  library   %s", clock(time.Now()), a.does)
}

// arrival shows one event as it arrives.
func (s *screen) arrival(a *arrival) {
	verdict := s.paint(green, "signature ok")
	switch {
	case !a.genuine:
		verdict = s.paint(red, "SIGNATURE WRONG")
	case a.repeated:
		verdict += s.paint(yellow, "  repeated, same id")
	}
	who := ""
	if a.actor != "" {
		who = s.paint(dim, "  by "+a.actor)
	}
	s.line("  %s    %s %s %s %s  %s%s", clock(a.at), pad("> "+a.receiver, 9), s.paint(cyan, pad(a.kind, 16)), pad(a.key, 14), pad(span(a.lag), 7), verdict, who)
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-len(s))) }

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// span writes a duration with three digits.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
