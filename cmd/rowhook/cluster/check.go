package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// Check tells what is wrong with the stream, and which servers lag behind.
func (s *Stream) Check(ctx context.Context) ([]capture.Finding, error) {
	info, err := s.info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return []capture.Finding{s.finding(capture.Warning, "stream", fmt.Sprintf("there is no stream %s", s.Name()), "`rowhook setup --apply` makes it, and so does `rowhook run`")}, nil
	}
	if err != nil {
		return nil, err
	}
	findings := s.judge(&info.Config)
	for _, server := range s.lagging(ctx, info.Cluster) {
		findings = append(findings, s.finding(capture.Warning, "server", fmt.Sprintf("server %s does not follow the stream %s", server, s.Name()), "look at that server's log"))
	}
	return append(findings, s.finding(capture.Info, "sync", "whether the servers sync before they acknowledge cannot be seen from here: without it a power loss takes acknowledged messages",
		"each server's config needs jetstream { sync_interval: always }")), nil
}

func (s *Stream) finding(severity capture.Severity, code, text, remedy string) capture.Finding {
	return capture.Finding{Severity: severity, Code: "cluster_" + code, Subject: s.Name(), Text: text, Remedy: remedy}
}

// judge tells what is wrong with the stream's config.
func (s *Stream) judge(is *jetstream.StreamConfig) (findings []capture.Finding) {
	add := func(severity capture.Severity, code, text, remedy string) {
		findings = append(findings, s.finding(severity, code, text, remedy))
	}
	edit := fmt.Sprintf("nats stream edit %s ", s.Name())
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
	return findings
}

// lagPatience is how long a server may lag behind until it is worth a word: a busy one does now and
// again, and each one at first.
const lagPatience = 5 * time.Second

// lagging names the servers that do not follow the stream, all the while that it looks.
func (s *Stream) lagging(ctx context.Context, of *jetstream.ClusterInfo) []string {
	names := notFollowing(of)
	for end := time.Now().Add(lagPatience); len(names) > 0 && time.Now().Before(end) && pause(ctx, retryPause); {
		info, err := s.info(ctx)
		if err != nil {
			break
		}
		now := notFollowing(info.Cluster)
		names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(now, name) })
	}
	return names
}

// notFollowing names the servers that do not follow the stream at the moment.
func notFollowing(of *jetstream.ClusterInfo) (names []string) {
	if of == nil {
		return nil
	}
	for _, peer := range of.Replicas {
		if peer.Offline || !peer.Current {
			names = append(names, peer.Name)
		}
	}
	return names
}
