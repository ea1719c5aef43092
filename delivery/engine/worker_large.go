package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"rowhook/delivery"
)

// attemptLarge makes an attempt with an event that is away. Where the format copies its objects the
// body goes from the store to the receiver without being held; otherwise the event is read and
// rendered, one at a time. The body is not kept for later attempts: each renders it again.
func (w *worker) attemptLarge(ctx context.Context, j *job) {
	list, size, ok, err := w.crew.profile.splices(j.event)
	if err != nil {
		j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonFormat, Error: err.Error()}
		return
	}
	if !ok {
		w.attemptWhole(ctx, j)
		return
	}
	write := func(out io.Writer) error {
		written, broken := w.crew.store.writeSplices(list, j.seq, out)
		if broken != nil {
			j.err = fmt.Errorf("read a large event: %w", broken)
		}
		return firstError(written, broken)
	}
	w.goLarge(ctx, j, &delivery.Stream{Size: size, Write: write})
}

// attemptWhole is attemptLarge where the body has to be rendered in memory.
func (w *worker) attemptWhole(ctx context.Context, j *job) {
	select {
	case w.crew.whole <- struct{}{}:
	case <-ctx.Done():
		j.reply = delivery.Reply{Class: delivery.ClassStopped, Reason: delivery.ReasonInterrupted}
		return
	}
	defer func() {
		debug.FreeOSMemory()
		<-w.crew.whole
	}()
	body, err := w.renderWhole(j)
	if j.err != nil {
		return
	}
	if err != nil {
		j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonFormat, Error: err.Error()}
		return
	}
	write := func(out io.Writer) error {
		_, err := out.Write(body)
		return err
	}
	w.goLarge(ctx, j, &delivery.Stream{Size: int64(len(body)), Write: write})
}

func (w *worker) renderWhole(j *job) ([]byte, error) {
	full, err := w.crew.store.whole(j.event, j.seq)
	if err != nil {
		j.err = fmt.Errorf("read a large event: %w", err)
		return nil, err
	}
	return w.crew.profile.formatter.AppendBody(make([]byte, 0, full.PayloadSize()+maxKeptBuffer), full)
}

// goLarge sends a large body, unless it is larger than its receiver takes.
func (w *worker) goLarge(ctx context.Context, j *job, body *delivery.Stream) {
	start := headOf{left: maxBodyStart}
	if err := body.Write(&start); err != nil && !errors.Is(err, errEnough) {
		if j.err == nil {
			j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonFormat, Error: err.Error()}
		}
		return
	}
	j.size, j.shown = int(body.Size), start.kept
	w.crew.noteSize(j)
	switch p := w.crew.profile; {
	case body.Size > p.config.MaxBody:
		j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonOversize}
	case p.dry():
		w.rehearse(j, j.shown)
	default:
		w.sendStream(ctx, j, body, p.formatter.Head(j.event))
	}
}

// headOf keeps the start of a body and then wants no more.
type headOf struct {
	left int
	kept []byte
}

var errEnough = errors.New("that is enough")

func (h *headOf) Write(p []byte) (int, error) {
	n := min(h.left, len(p))
	h.kept = append(h.kept, p[:n]...)
	if h.left -= n; h.left == 0 {
		return n, errEnough
	}
	return n, nil
}
