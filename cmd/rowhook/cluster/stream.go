package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"rowhook/capture"
)

const (
	// requestTime is how long one request to JetStream waits: a server that has no leader yet
	// answers none.
	requestTime = 3 * time.Second
	// retryPause is between two tries of what did not work.
	retryPause = 200 * time.Millisecond
	// duplicateWindow is how long the servers pass over a message that came before.
	duplicateWindow = 2 * time.Minute
	// envelopeRoom is what an envelope has around its body at most.
	envelopeRoom = 256
	// readAhead is how many messages are under way to a replica at most.
	readAhead = 32
	// complaintInterval is how often it is logged that nothing can be published.
	complaintInterval = time.Minute
	// longestStay is how long a server is tried at most that keeps nothing.
	longestStay = 30 * time.Second
)

// Options are what a stream is connected with. The zero value is useful.
type Options struct {
	Logger  *slog.Logger // gets what happens to the connection; defaults to none
	Version string       // of rowhook, told to the other machines

	once bool // give up when no server could be connected with
}

// Stream is the connection to the stream that a cluster's machines have in common.
type Stream struct {
	config  Config
	options Options
	logger  *slog.Logger
	nc      *nats.Conn
	js      jetstream.JetStream

	mu         sync.Mutex
	again      func() // see onAgain
	refusals   int    // connections that did not come about, and how the last one failed
	refusal    error
	refusedAt  time.Time // when that was last logged
	complained time.Time // when it was last logged that nothing can be published
	left       time.Time // when a server was last left, and how long the next one is tried
	stay       time.Duration
}

// GapError is a stream that is not what this machine's spool goes on from. To go on would lose
// changes.
type GapError struct {
	Text   string
	Remedy string
	Passes bool // a start mends it, if not the first one
}

func (e *GapError) Error() string { return "the cluster's stream: " + e.Text }

// RemedyText returns the remedy for the operator.
func (e *GapError) RemedyText() string { return e.Remedy }

// ExitCode is that of a stream that cannot be continued, or of any failure where a start mends it: the
// service's unit starts again after that one only.
func (e *GapError) ExitCode() int {
	if e.Passes {
		return 1
	}
	return 4
}

// Connect connects to the servers and makes the stream if there is none. It tries until ctx ends.
func Connect(ctx context.Context, c Config, o Options) (*Stream, error) {
	s, err := dial(ctx, c, o)
	if err != nil {
		return nil, err
	}
	if err := s.ensure(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// dial connects to one of the servers. It tries until ctx ends, or once.
func dial(ctx context.Context, c Config, o Options) (*Stream, error) {
	s := &Stream{config: c, options: o, logger: o.Logger}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	options := []nats.Option{
		nats.Name("rowhook " + c.machine()),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(retryPause),
		nats.ReconnectJitter(retryPause, retryPause),
		nats.ReconnectBufSize(-1), // what could not be sent is sent again by who said it
		nats.Timeout(2 * time.Second),
		// A server that is frozen is left within a lease.
		nats.PingInterval(max(c.Lease/renewals, 200*time.Millisecond)),
		nats.MaxPingsOutstanding(3),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				s.logger.Warn("connection to NATS lost", "err", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { s.refused(err) }),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			s.logger.Info("connected to NATS again", "server", nc.ConnectedServerName())
			s.compare()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.logger.Debug("NATS", "err", err)
		}),
	}
	if c.NATS.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(c.NATS.CredentialsFile))
	}
	if c.NATS.CAFile != "" {
		options = append(options, nats.RootCAs(c.NATS.CAFile))
	}
	if c.NATS.CertFile != "" {
		options = append(options, nats.ClientCert(c.NATS.CertFile, c.NATS.KeyFile))
	}
	var err error
	if s.nc, err = nats.Connect(c.NATS.URL, options...); err != nil {
		return nil, s.unreachable(err)
	}
	for !s.nc.IsConnected() {
		if o.once && s.refusedBy(strings.Count(c.NATS.URL, ",")+1) || !pause(ctx, retryPause/4) {
			err := s.lastRefusal()
			if err == nil {
				err = errors.Join(context.Cause(ctx), s.nc.LastError())
			}
			s.nc.Close()
			return nil, s.unreachable(err)
		}
	}
	s.js, err = jetstream.New(s.nc, jetstream.WithPublishAsyncTimeout(10*time.Second))
	if err != nil {
		s.nc.Close()
		return nil, s.unreachable(err)
	}
	return s, nil
}

// refused notes a connection that did not come about. Who waits for it is told at once, and then each
// minute.
func (s *Stream) refused(err error) {
	if errors.Is(err, nats.ErrNoServers) { // which is what the others come to
		return
	}
	s.mu.Lock()
	s.refusals, s.refusal = s.refusals+1, err
	tell := time.Since(s.refusedAt) >= complaintInterval
	if tell {
		s.refusedAt = time.Now()
	}
	s.mu.Unlock()
	if tell {
		err := s.unreachable(err)
		s.logger.Warn("no connection to NATS yet", "err", err, "remedy", capture.Remedy(err))
	}
}

// refusedBy tells whether as many connections failed as there are servers.
func (s *Stream) refusedBy(servers int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusals >= servers
}

// lastRefusal is how the last connection failed; nil when none did.
func (s *Stream) lastRefusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusal
}

// unreachable is an error of a connection. Servers are named without users and passwords.
func (s *Stream) unreachable(err error) error {
	var hosts []string
	for server := range strings.SplitSeq(s.config.NATS.URL, ",") {
		if u, err := url.Parse(strings.TrimSpace(server)); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return &capture.OperatorError{
		Err:    fmt.Errorf("connect to NATS at %s: %w", strings.Join(hosts, ", "), err),
		Remedy: "look whether the servers run and take this machine's credentials, then `rowhook check`",
	}
}

// Close ends the connection.
func (s *Stream) Close() { s.nc.Close() }

// Name is the stream's name.
func (s *Stream) Name() string { return "rowhook-" + s.config.Name }

func (s *Stream) subject() string { return "rowhook." + s.config.Name + ".m" }

func (s *Stream) bucket() string { return s.Name() + "-snapshots" }

// wanted is the stream as it has to be.
func (s *Stream) wanted() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.Name(),
		Description: "what rowhook's machines of the cluster " + s.config.Name + " have in common",
		Subjects:    []string{s.subject()},
		Storage:     jetstream.FileStorage,
		Replicas:    s.config.Replicas,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		Duplicates:  duplicateWindow,
		DenyDelete:  true,
	}
}

// ensure makes the stream if there is none.
func (s *Stream) ensure(ctx context.Context) error {
	for {
		err := s.request(ctx, func(ctx context.Context) error {
			_, err := s.js.Stream(ctx, s.Name())
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				_, err = s.js.CreateStream(ctx, s.wanted())
			}
			return err
		})
		if err == nil {
			break
		}
		var api *jetstream.APIError
		if errors.As(err, &api) && api.Code >= 400 && api.Code < 500 || !pause(ctx, retryPause) {
			return &capture.OperatorError{
				Err:    fmt.Errorf("make the stream %s: %w", s.Name(), err),
				Remedy: fmt.Sprintf("JetStream needs %d servers that run, and an account that may make streams; then `rowhook check`", s.config.Replicas),
			}
		}
	}
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	for _, f := range s.judge(&info.Config) {
		if f.Severity == capture.Error {
			return &capture.OperatorError{Err: errors.New(f.Text), Remedy: f.Remedy}
		}
	}
	return nil
}

// request calls do with a deadline of its own.
func (s *Stream) request(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return do(ctx)
}

// info asks for the stream until it is told, or ctx ends.
func (s *Stream) info(ctx context.Context) (info *jetstream.StreamInfo, err error) {
	for {
		err = s.request(ctx, func(ctx context.Context) error {
			stream, err := s.js.Stream(ctx, s.Name())
			if err == nil {
				info = stream.CachedInfo()
			}
			return err
		})
		if err == nil {
			return info, nil
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) || !pause(ctx, retryPause) {
			return nil, fmt.Errorf("ask for the stream %s: %w", s.Name(), err)
		}
	}
}

// message returns one message; nil when the stream has none of that number.
func (s *Stream) message(ctx context.Context, seq uint64) (raw []byte, err error) {
	for {
		err = s.request(ctx, func(ctx context.Context) error {
			stream, err := s.js.Stream(ctx, s.Name())
			if err != nil {
				return err
			}
			msg, err := stream.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				raw = nil
				return nil
			}
			if err == nil {
				raw = msg.Data
			}
			return err
		})
		if err == nil {
			return raw, nil
		}
		if !pause(ctx, retryPause) {
			return nil, fmt.Errorf("read message %d of the stream %s: %w", seq, s.Name(), err)
		}
	}
}

// maxBody is how long the body of an envelope may be.
func (s *Stream) maxBody() int { return int(s.nc.MaxPayload()) - envelopeRoom }

// publish publishes an envelope again and again until it has come back, or ctx ends. acked is told
// of each place that the stream gives it.
func (s *Stream) publish(ctx context.Context, id string, raw []byte, back <-chan struct{}, acked func(*jetstream.PubAck)) error {
	began := time.Now()
	for tries := 1; ; tries++ {
		next := time.NewTimer(requestTime)
		msg := &nats.Msg{Subject: s.subject(), Data: raw}
		future, err := s.js.PublishMsgAsync(msg, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
		if err != nil {
			next.Reset(retryPause)
		} else {
			select {
			case ack := <-future.Ok():
				acked(ack)
				s.stays()
				next.Reset(3 * requestTime) // it comes, unless the reader is far behind
			case err = <-future.Err():
				next.Reset(retryPause)
			case <-next.C:
				err = errNoAcknowledgement
				next.Reset(0)
			case <-back:
				next.Stop()
				return nil
			case <-ctx.Done():
				next.Stop()
				return context.Cause(ctx)
			}
		}
		if err != nil && tries > 1 {
			s.complain(err)
			s.leave(began)
		}
		select {
		case <-next.C:
		case <-back:
			next.Stop()
			return nil
		case <-ctx.Done():
			next.Stop()
			return context.Cause(ctx)
		}
	}
}

// leave goes to another server, if this one has kept nothing since a time: it may be cut off from the
// others, and nothing else tells a client. While there is no majority no server is better, so that each
// next one is tried longer.
func (s *Stream) leave(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.left.After(since) {
		since = s.left
	}
	if now.Sub(since) < max(s.config.Lease/2, s.stay) || !s.nc.IsConnected() {
		return
	}
	s.left, s.stay = now, min(2*max(s.stay, s.config.Lease/2), longestStay)
	s.logger.Info("the NATS server keeps nothing; another one is tried", "server", s.nc.ConnectedServerName())
	_ = s.nc.ForceReconnect() // closed is as good
}

// stays notes that a server keeps what it is told.
func (s *Stream) stays() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stay = 0
}

// errNoAcknowledgement is what a publish gets while most of the servers are away.
var errNoAcknowledgement = errors.New("no server acknowledges it")

// complain logs that nothing can be published, now and again.
func (s *Stream) complain(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.complained) >= complaintInterval {
		s.complained = now
		s.logger.Warn("nothing can be published to the cluster's stream; it is tried again", "stream", s.Name(), "err", err)
	}
}

// read calls yield for each message from a place on, in order, without gap and repeat, until ctx ends
// or yield returns an error.
func (s *Stream) read(ctx context.Context, from uint64, yield func(seq uint64, raw []byte) error) error {
	for {
		var stop error
		err := s.readSome(ctx, &from, func(seq uint64, raw []byte) error {
			stop = yield(seq, raw)
			return stop
		})
		var gap *GapError
		if stop != nil || errors.As(err, &gap) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.logger.Debug("read the cluster's stream again", "from", from, "err", err)
		s.compare()
		if !pause(ctx, retryPause) {
			return context.Cause(ctx)
		}
	}
}

// readSome reads until something is wrong. The client's own ordered consumer is not used: what it
// asks of a server that does not answer yet keeps it for ten seconds, which is longer than a lease.
func (s *Stream) readSome(ctx context.Context, from *uint64, yield func(uint64, []byte) error) error {
	var messages jetstream.MessagesContext
	err := s.request(ctx, func(try context.Context) error {
		consumer, err := s.js.CreateConsumer(try, s.Name(), jetstream.ConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *from,
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: 30 * time.Second,
		})
		if err != nil {
			return err
		}
		messages, err = consumer.Messages(jetstream.PullMaxMessages(readAhead), jetstream.PullExpiry(4*time.Second),
			jetstream.PullHeartbeat(time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(true))
		return err
	})
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		switch seq := meta.Sequence.Stream; {
		case seq < *from:
			continue // came before
		case seq > *from:
			return s.missing(ctx, *from, seq)
		}
		if err := yield(*from, msg.Data()); err != nil {
			return err
		}
		*from++
	}
}

// missing says why a message came before the one that is due.
func (s *Stream) missing(ctx context.Context, due, came uint64) error {
	info, err := s.info(ctx)
	if err != nil {
		return err
	}
	if info.State.FirstSeq > due {
		return &GapError{
			Text:   fmt.Sprintf("this machine needs message %d, and the first one that is left is %d", due, info.State.FirstSeq),
			Remedy: "start rowhook again: it fetches the cluster's last snapshot",
			Passes: true,
		}
	}
	return fmt.Errorf("message %d came when %d was due", came, due)
}

// verify compares the stream with the last message that a spool has an effect of. It is not known to be
// right while the stream does not reach so far: a server that was frozen may tell of an older state for a
// moment.
func (s *Stream) verify(ctx context.Context, last stamp) (known bool, err error) {
	if last.seq == 0 {
		return true, nil
	}
	raw, err := s.message(ctx, last.seq)
	if err != nil {
		return false, err
	}
	if raw == nil {
		info, err := s.info(ctx)
		return err == nil && info.State.FirstSeq > last.seq, err // trimmed
	}
	if digestOf(raw) != last.digest {
		return false, otherStream(fmt.Sprintf("message %d is not the one that this machine applied", last.seq))
	}
	return true, nil
}

// otherStream is the error of a stream that went back or is another one.
func otherStream(text string) error {
	return &GapError{
		Text: text + ": the stream lost its end, or was made anew",
		Remedy: "stop rowhook on all machines. Of their state directories keep the one of the machine that captured last; move the others away. " +
			"On that machine take the section cluster out of the config and run `rowhook status` once: its spool is one of a machine that is alone then. " +
			"Delete the stream and its bucket of snapshots (`nats stream rm`, `nats object rm`), put the section back, and start that machine first: it begins the cluster anew with what it has",
	}
}

// mark says in the stream's own metadata which cluster it is of.
func (s *Stream) mark(ctx context.Context, config jetstream.StreamConfig, lineage string) error {
	return s.request(ctx, func(ctx context.Context) error {
		config.Metadata = maps.Clone(config.Metadata)
		if config.Metadata == nil {
			config.Metadata = map[string]string{}
		}
		config.Metadata[streamLineage] = lineage
		if _, err := s.js.UpdateStream(ctx, config); err != nil {
			return fmt.Errorf("mark the stream %s with its cluster: %w", s.Name(), err)
		}
		return nil
	})
}

// purge removes messages before a place.
func (s *Stream) purge(ctx context.Context, before uint64) error {
	return s.request(ctx, func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.Name())
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSequence(before))
		}
		if err != nil {
			return fmt.Errorf("purge the stream %s before %d: %w", s.Name(), before, err)
		}
		return nil
	})
}

// onAgain sets what is called after each reconnect, and when the stream is read again.
func (s *Stream) onAgain(call func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = call
}

// compare has what is read be compared with what is applied.
func (s *Stream) compare() {
	s.mu.Lock()
	call := s.again
	s.mu.Unlock()
	if call != nil {
		call()
	}
}

// pause waits and reports whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
