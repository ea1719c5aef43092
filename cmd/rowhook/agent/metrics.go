package agent

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"rowhook/cmd/rowhook/pipeline"
	"rowhook/delivery/engine"
)

// Metrics are read from the rooms' figures when they are scraped: nothing is counted for them
// alone, but for two histograms per profile. Labels come from closed sets and from the config; they
// never hold what a row or a reply holds.

// metric describes one metric.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("rowhook_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("rowhook_"+name, help, labels, nil), prometheus.CounterValue}
}

// agentMetrics collects an agent's figures.
type agentMetrics struct {
	agent *Agent

	build, ready, reloadOK, reloadTime, restart     metric
	connections                                     metric
	mails, mailsWaiting, mailsLost, mailsSuppressed metric
	source                                          sourceMetrics
	spool                                           spoolMetrics
	profile                                         profileMetrics
	backfill                                        backfillMetrics
	memory                                          memoryMetrics
	cluster                                         clusterMetrics
}

// sourceMetrics are those of the stream.
type sourceMetrics struct {
	streaming, lagBytes, lagSeconds, retained, lastCommit, stalled    metric
	transactions, changes, events, unsubscribed, parkedTotal, notices metric
	parked, parkedBytes                                               metric
}

// spoolMetrics are those of the spool as a whole.
type spoolMetrics struct {
	bytes, max, history, free metric
	events, oldest            metric
}

// profileMetrics are those of each profile.
type profileMetrics struct {
	state, breaker, backlogEvents, backlogBytes, oldest metric
	inFlight, retrying, blocked, dead, skew             metric
	deliveries                                          metric
	latency, duration                                   *prometheus.Desc
}

// profileStates are the states that a profile can be in.
var profileStates = []string{"active", "waiting", "pending", "inactive"}

func newAgentMetrics(a *Agent) *agentMetrics {
	return &agentMetrics{
		agent: a, source: newSourceMetrics(), spool: newSpoolMetrics(), profile: newProfileMetrics(), backfill: newBackfillMetrics(), memory: newMemoryMetrics(), cluster: newClusterMetrics(),
		build:           gauge("build_info", "Always 1; the labels say which build this is.", "version", "goversion"),
		ready:           gauge("ready", "Whether /readyz answers ok."),
		reloadOK:        gauge("config_last_reload_successful", "Whether the last reload of the config worked."),
		restart:         gauge("config_restart_needed", "Keys of the config that have changed and take effect with a restart."),
		reloadTime:      gauge("config_last_reload_timestamp_seconds", "Time of the last reload, or of the start."),
		mails:           counter("alerts_sent_total", "Mails sent."),
		mailsWaiting:    gauge("alerts_waiting", "Mails that wait for the mail server."),
		mailsLost:       counter("alerts_lost_total", "Failures and mails that there was no room for, and mails that the server refused."),
		mailsSuppressed: counter("alerts_suppressed_total", "Failures that no mail was sent about, for alert.every."),
		connections:     counter("connections_opened_total", "Connections opened to endpoints."),
	}
}

func newSourceMetrics() sourceMetrics {
	return sourceMetrics{
		streaming:    gauge("source_streaming", "Whether the source is being read."),
		lagBytes:     gauge("source_lag_bytes", "What the source has and is not confirmed yet. Absent while the source does not answer."),
		lagSeconds:   gauge("source_lag_seconds", "Time since the last commit that was read while the source has more, else 0."),
		stalled:      gauge("source_stalled_seconds", "Time since anything came of what the source has committed, while that is longer than it should be; else 0."),
		retained:     gauge("source_retained_bytes", "Log that the source keeps: WAL held by the slot, or all binlog files. Absent while the source does not answer."),
		lastCommit:   gauge("source_last_commit_timestamp_seconds", "Commit time of the last transaction that was read."),
		transactions: counter("source_transactions_total", "Transactions read."),
		changes:      counter("source_changes_total", "Row changes read."),
		events:       counter("source_events_total", "Events made of them that somebody gets."),
		unsubscribed: counter("source_unsubscribed_events_total", "Events that no profile wants."),
		parkedTotal:  counter("source_parked_changes_total", "Changes parked since they could not be decoded or mapped."),
		notices:      counter("source_notices_total", "Messages left out since they could not be read or are not listed."),
		parked:       gauge("parked_changes", "Changes that are parked now."),
		parkedBytes:  gauge("parked_bytes", "What they take in the spool."),
	}
}

func newSpoolMetrics() spoolMetrics {
	return spoolMetrics{
		bytes:   gauge("spool_bytes", "What the spool takes on disk."),
		max:     gauge("spool_max_bytes", "What it may take: spool.max_size."),
		history: gauge("spool_history_bytes", "Of spool_bytes: delivered events kept for replay."),
		free:    gauge("spool_disk_free_bytes", "Free space of the spool's disk."),
		events:  gauge("spool_events", "Deliveries that wait, over all profiles."),
		oldest:  gauge("spool_oldest_seconds", "Age of the oldest event that waits for any profile; 0 for none."),
	}
}

func newProfileMetrics() profileMetrics {
	return profileMetrics{
		state:         gauge("profile_state", "1 for the state that the profile is in.", "profile", "state"),
		breaker:       gauge("profile_breaker_open", "Whether the endpoint is left alone, or tried with one request at a time.", "profile"),
		backlogEvents: gauge("profile_backlog_events", "Events that wait.", "profile"),
		backlogBytes:  gauge("profile_backlog_bytes", "What they take in the spool.", "profile"),
		oldest:        gauge("profile_oldest_seconds", "Age of the oldest event that waits; 0 for none.", "profile"),
		inFlight:      gauge("profile_requests_in_flight", "Requests under way.", "profile"),
		retrying:      gauge("profile_retrying_events", "Events that have been tried and wait for another attempt.", "profile"),
		blocked:       gauge("profile_blocked_events", "Events on disk behind others of their keys.", "profile"),
		dead:          gauge("profile_dead_letters", "Events that were given up and kept.", "profile"),
		skew:          gauge("profile_clock_skew_seconds", "How far this machine's clock is ahead of the endpoint's.", "profile"),
		deliveries:    counter("deliveries_total", "Lines of the delivery log, in events, by outcome and reason.", "profile", "outcome", "reason"),
		latency:       prometheus.NewDesc("rowhook_delivery_latency_seconds", "From an event's commit to its delivery.", []string{"profile"}, nil),
		duration:      prometheus.NewDesc("rowhook_request_duration_seconds", "Of requests to endpoints.", []string{"profile"}, nil),
	}
}

// newRegistry holds everything that is exposed.
func newRegistry(a *Agent) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newAgentMetrics(a), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// Describe implements [prometheus.Collector]: what is collected tells.
func (m *agentMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements [prometheus.Collector].
func (m *agentMetrics) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	c := collection{ch: ch, now: now}
	c.put(m.build, 1, m.agent.options.Version, runtime.Version())
	c.put(m.ready, c.flag(len(m.agent.readiness(now).Reasons) == 0))
	m.collectSource(&c)
	m.collectBackfills(&c)
	m.collectMemory(&c)
	m.collectCluster(&c)
	profiles, err := m.agent.engine.Stats()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(m.spool.events.desc, err)
		return
	}
	m.collectSpool(&c, profiles)
	for i := range profiles {
		m.profile.collect(&c, &profiles[i])
	}
}

// collection is one scrape.
type collection struct {
	ch  chan<- prometheus.Metric
	now time.Time
}

func (c *collection) put(m metric, value float64, labels ...string) {
	c.ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

func (c *collection) flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// age is how long ago something was; 0 for never.
func (c *collection) age(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(c.now.Sub(at).Seconds(), 0)
}

func (m *agentMetrics) collectSource(c *collection) {
	a := m.agent
	a.mu.Lock()
	connection, sampled, reloaded := a.connection, a.sampled, a.reloaded
	a.mu.Unlock()
	c.put(m.reloadOK, c.flag(reloaded.OK))
	c.put(m.restart, float64(len(reloaded.Restart)))
	c.put(m.reloadTime, unixSeconds(reloaded.Time))
	c.put(m.source.streaming, c.flag(connection.State == "streaming"))
	var counts pipeline.Counts
	if t := a.term.Load(); t != nil {
		counts = t.pipe.Counts()
	}
	if !counts.LastCommit.IsZero() {
		c.put(m.source.lastCommit, unixSeconds(counts.LastCommit))
	}
	stalled := 0.0
	if sampled.stalled() {
		stalled = c.age(sampled.since)
	}
	c.put(m.source.stalled, stalled)
	if s := sampled.stream; s != nil {
		c.put(m.source.lagBytes, float64(s.LagBytes))
		behind := 0.0
		if s.LagBytes > 0 && !counts.LastCommit.IsZero() {
			behind = c.age(counts.LastCommit)
		}
		c.put(m.source.lagSeconds, behind)
		switch {
		case s.Slot != nil:
			c.put(m.source.retained, float64(s.Slot.RetainedBytes))
		case s.Binlog != nil:
			c.put(m.source.retained, float64(s.Binlog.RetainedBytes))
		}
	}
	c.put(m.source.transactions, float64(counts.Transactions))
	c.put(m.source.changes, float64(counts.Changes))
	c.put(m.source.events, float64(counts.Events))
	c.put(m.source.unsubscribed, float64(counts.Unsubscribed))
	c.put(m.source.parkedTotal, float64(counts.Parked))
	c.put(m.source.notices, float64(counts.Notices))
	parked, bytes := a.spool.ParkedCount()
	c.put(m.source.parked, float64(parked))
	c.put(m.source.parkedBytes, float64(bytes))
}

func (m *agentMetrics) collectSpool(c *collection, profiles []engine.ProfileStats) {
	usage := m.agent.spool.Usage()
	c.put(m.spool.bytes, float64(usage.Bytes))
	c.put(m.spool.max, float64(usage.Max))
	c.put(m.spool.history, float64(usage.History))
	c.put(m.spool.free, float64(usage.Free))
	c.put(m.connections, float64(m.agent.here.Opened()))
	mail := m.agent.mailer.Status()
	c.put(m.mails, float64(mail.Sent))
	c.put(m.mailsWaiting, float64(mail.Waiting))
	c.put(m.mailsLost, float64(mail.Dropped+mail.Refused))
	c.put(m.mailsSuppressed, float64(mail.Suppressed))
	waiting, oldest := int64(0), 0.0
	for i := range profiles {
		waiting += profiles[i].Status.BacklogEvents
		oldest = max(oldest, c.age(profiles[i].Status.Oldest))
	}
	c.put(m.spool.events, float64(waiting))
	c.put(m.spool.oldest, oldest)
}

func (m *profileMetrics) collect(c *collection, p *engine.ProfileStats) {
	s := &p.Status
	for _, state := range profileStates {
		c.put(m.state, c.flag(s.State == state), s.Profile, state)
	}
	c.put(m.breaker, c.flag(s.Breaker != "closed"), s.Profile)
	c.put(m.backlogEvents, float64(s.BacklogEvents), s.Profile)
	c.put(m.backlogBytes, float64(s.BacklogBytes), s.Profile)
	c.put(m.oldest, c.age(s.Oldest), s.Profile)
	c.put(m.inFlight, float64(s.InFlight), s.Profile)
	c.put(m.retrying, float64(s.Retrying), s.Profile)
	c.put(m.blocked, float64(s.Blocked), s.Profile)
	c.put(m.dead, float64(s.Dead), s.Profile)
	c.put(m.skew, s.ClockSkewSeconds, s.Profile)
	for ending, n := range p.Endings {
		c.put(m.deliveries, float64(n), s.Profile, string(ending.Outcome), ending.Reason)
	}
	c.histogram(m.latency, &p.Latency, s.Profile)
	c.histogram(m.duration, &p.Duration, s.Profile)
}

func (c *collection) histogram(desc *prometheus.Desc, h *engine.Histogram, labels ...string) {
	c.ch <- prometheus.MustNewConstHistogram(desc, h.Count(), h.Sum().Seconds(), h.Cumulative(), labels...)
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
