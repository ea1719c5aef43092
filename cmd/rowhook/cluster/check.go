package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"rowhook/capture"
)

// Check connects and tells what is wrong with the servers and the stream. It changes nothing.
func Check(ctx context.Context, c Config, o Options) ([]capture.Finding, error) {
	o.once = true
	s, err := dial(ctx, c, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Check(ctx)
}

// Setup makes the stream if there is none; without apply it only says so. What it did or would do is
// returned in words.
func Setup(ctx context.Context, c Config, o Options, apply bool) (steps []string, err error) {
	o.once = true
	s, err := dial(ctx, c, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.request(ctx, func(ctx context.Context) error {
		_, err := s.js.Stream(ctx, s.Name())
		return err
	}); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	steps = append(steps, fmt.Sprintf("make the stream %s on %d servers, in files, for the subject %s", s.Name(), c.Replicas, s.subject()))
	if apply {
		err = s.ensure(ctx)
	}
	return steps, err
}

// Check tells what is wrong with the stream.
func (s *Stream) Check(ctx context.Context) ([]capture.Finding, error) {
	var findings []capture.Finding
	add := func(severity capture.Severity, code, text, remedy string) {
		findings = append(findings, capture.Finding{Severity: severity, Code: "cluster_" + code, Subject: s.Name(), Text: text, Remedy: remedy})
	}
	info, err := s.info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		add(capture.Warning, "stream", fmt.Sprintf("there is no stream %s", s.Name()), "`rowhook setup --apply` makes it, and so does `rowhook run`")
		return findings, nil
	}
	if err != nil {
		return nil, err
	}
	is, edit := info.Config, fmt.Sprintf("nats stream edit %s ", s.Name())
	if is.Storage != jetstream.FileStorage {
		add(capture.Error, "storage", fmt.Sprintf("the stream %s is in memory: what the database is confirmed would be lost", s.Name()),
			fmt.Sprintf("nats stream rm %s, then `rowhook setup --apply`", s.Name()))
	}
	if is.Replicas < s.config.Replicas {
		add(capture.Error, "replicas", fmt.Sprintf("%d servers keep the stream %s, and cluster.replicas is %d", is.Replicas, s.Name(), s.config.Replicas),
			edit+fmt.Sprintf("--replicas %d", s.config.Replicas))
	}
	if is.Replicas < 3 {
		add(capture.Warning, "majority", fmt.Sprintf("the stream %s is lost with one server", s.Name()), "run three servers and set cluster.replicas to 3")
	}
	if is.MaxAge > 0 || is.MaxMsgs > 0 || is.MaxMsgsPerSubject > 0 || is.Discard != jetstream.DiscardNew || is.Retention != jetstream.LimitsPolicy {
		add(capture.Error, "limits", fmt.Sprintf("the stream %s may drop messages by itself", s.Name()),
			edit+"--max-age 0 --max-msgs -1 --max-msgs-per-subject -1 --discard new")
	}
	if is.Duplicates < time.Minute {
		add(capture.Warning, "duplicates", fmt.Sprintf("the stream %s knows messages that come again for %s only", s.Name(), is.Duplicates), edit+"--dupe-window 2m")
	}
	if len(is.Subjects) != 1 || is.Subjects[0] != s.subject() || is.Mirror != nil || len(is.Sources) > 0 {
		add(capture.Error, "subjects", fmt.Sprintf("the stream %s has other messages than those of %s: %s", s.Name(), s.subject(), strings.Join(is.Subjects, ", ")),
			edit+"--subjects "+s.subject())
	}
	if info.Cluster != nil {
		for _, peer := range info.Cluster.Replicas {
			if peer.Offline || !peer.Current {
				add(capture.Warning, "server", fmt.Sprintf("server %s does not follow the stream %s", peer.Name, s.Name()), "look at that server's log")
			}
		}
	}
	add(capture.Info, "sync", "whether the servers sync before they acknowledge cannot be seen from here: without it a power loss takes acknowledged messages",
		"each server's config needs jetstream { sync_interval: always }")
	return findings, nil
}
