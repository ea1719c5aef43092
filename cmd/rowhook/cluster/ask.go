package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// Headers of requests to another machine and of its answers. An answer that is longer than the
// servers take comes in several messages, numbered from 0.
const (
	headerOp     = "Rowhook-Op"
	headerIndex  = "Rowhook-Index"
	headerMore   = "Rowhook-More"
	headerError  = "Rowhook-Error"
	headerRemedy = "Rowhook-Remedy"
)

// answersAtOnce is how many requests of other machines are worked on at once.
const answersAtOnce = 16

// ErrNoAnswer is of a machine that does not run, or is cut off.
var ErrNoAnswer = errors.New("it does not answer")

// AnswerError is what another machine answered instead of doing what it was asked.
type AnswerError struct {
	Machine string
	Text    string
	Remedy  string
}

func (e *AnswerError) Error() string { return fmt.Sprintf("machine %s: %s", e.Machine, e.Text) }

// RemedyText returns the remedy for the operator.
func (e *AnswerError) RemedyText() string { return e.Remedy }

func (s *Stream) askSubject(machine string) string {
	return "rowhook." + s.config.Name + ".ask." + machine
}

// Answer sets what answers the requests of other machines.
func (r *Replica) Answer(answer func(op string, request []byte) ([]byte, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// Ask has another machine do an operation and returns its answer. What that machine does is not
// undone when ctx ends.
func (r *Replica) Ask(ctx context.Context, machine, op string, request []byte) ([]byte, error) {
	if machine == r.machine {
		return r.answered(op, request)
	}
	answer, err := r.ask(ctx, machine, op, request)
	var told *AnswerError
	if err != nil && !errors.As(err, &told) {
		err = fmt.Errorf("ask machine %s: %w", machine, err)
	}
	return answer, err
}

func (r *Replica) ask(ctx context.Context, machine, op string, request []byte) ([]byte, error) {
	if len(request) > r.stream.maxBody() {
		return nil, fmt.Errorf("a request of %d bytes is longer than the %d that the servers take", len(request), r.stream.maxBody())
	}
	nc := r.stream.nc
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // it ends with the connection otherwise
	msg := nats.NewMsg(r.stream.askSubject(machine))
	msg.Reply, msg.Data = inbox, request
	msg.Header.Set(headerOp, op)
	if err := nc.PublishMsg(msg); err != nil {
		return nil, err
	}
	var answer []byte
	for index := 0; ; index++ {
		part, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return nil, ErrNoAnswer
		}
		if err != nil {
			return nil, err
		}
		if text := part.Header.Get(headerError); text != "" {
			return nil, &AnswerError{Machine: machine, Text: text, Remedy: part.Header.Get(headerRemedy)}
		}
		if part.Header.Get(headerIndex) != strconv.Itoa(index) {
			return nil, errors.New("a part of its answer is missing")
		}
		answer = append(answer, part.Data...)
		if part.Header.Get(headerMore) == "" {
			return answer, nil
		}
	}
}

// answered does what another machine asks.
func (r *Replica) answered(op string, request []byte) ([]byte, error) {
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		return nil, errors.New("it takes no requests yet")
	}
	return answer(op, request)
}

// serve answers the requests of other machines until ctx ends.
func (r *Replica) serve(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	requests := make(chan *nats.Msg, answersAtOnce)
	sub, err := r.stream.nc.ChanSubscribe(r.stream.askSubject(r.machine), requests)
	if err != nil {
		return fmt.Errorf("subscribe to requests of other machines: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it ends with the connection otherwise
	for range answersAtOnce {
		all.Go(func() {
			for {
				select {
				case msg := <-requests:
					r.reply(msg)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	<-ctx.Done()
	return nil
}

// reply answers one request. Who asked is gone when that fails.
func (r *Replica) reply(request *nats.Msg) {
	answer, err := r.answered(request.Header.Get(headerOp), request.Data)
	if err != nil {
		msg := nats.NewMsg(request.Reply)
		msg.Header.Set(headerError, err.Error())
		var remedy interface{ RemedyText() string }
		if errors.As(err, &remedy) {
			msg.Header.Set(headerRemedy, remedy.RemedyText())
		}
		_ = r.stream.nc.PublishMsg(msg)
		return
	}
	for index := 0; ; index++ {
		msg := nats.NewMsg(request.Reply)
		msg.Header.Set(headerIndex, strconv.Itoa(index))
		msg.Data = answer[:min(len(answer), r.stream.maxBody())]
		answer = answer[len(msg.Data):]
		if len(answer) > 0 {
			msg.Header.Set(headerMore, "1")
		}
		if err := r.stream.nc.PublishMsg(msg); err != nil || len(answer) == 0 {
			return
		}
	}
}
