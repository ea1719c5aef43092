package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"rowhook/cmd/rowhook/cluster"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
)

// behindMost is by how many messages a machine may be behind the stream and still be ready.
const behindMost = 10_000

// quorum reports whether most of the servers keep what this machine says: its renewals come back.
func (n *node) quorum(v *cluster.View, now time.Time) bool {
	return !v.CameBack.IsZero() && now.Sub(v.CameBack) < n.lease
}

// status is how the cluster stands, as this machine sees it.
func (a *Agent) clusterStatus(now time.Time) *operation.ClusterStatus {
	view := a.node.replica.View()
	s := &operation.ClusterStatus{
		Name: a.config().Cluster.Name, Machine: view.Machine, Captures: view.Capture.Owner, Epoch: view.Capture.Epoch,
		Machines: []operation.MachineStatus{}, Profiles: []operation.OwnerStatus{},
		Quorum: a.node.quorum(&view, now), SecondsSince: seconds(now, view.CameBack),
		Stream: operation.StreamStatus{Bytes: view.Stream.Bytes, First: view.Stream.First, Last: max(view.Stream.Last, view.Applied), Behind: behind(&view)},
	}
	for _, m := range view.Machines {
		s.Machines = append(s.Machines, operation.MachineStatus{
			Name: m.Name, Roles: m.Roles, Live: m.Alive, SeenSeconds: seconds(now, m.Heard), Behind: m.Behind,
			Version: m.Version, Address: m.Address, Config: m.Config,
		})
	}
	for _, code := range a.engine.Profiles() {
		seat := view.Profiles[code]
		s.Profiles = append(s.Profiles, operation.OwnerStatus{Profile: code, Machine: seat.Owner, Epoch: seat.Epoch})
	}
	return s
}

func seconds(now, at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(now.Sub(at).Seconds(), 0)
}

// behind is how many messages this machine has still to apply, as far as the servers have told.
func behind(v *cluster.View) uint64 { return v.Stream.Last - min(v.Applied, v.Stream.Last) }

// reasonUnowned is why a profile waits that no machine delivers for the moment, or whose machine does
// not answer.
const reasonUnowned = "no_machine"

// backlogOf adds what waits for a profile, as this machine's spool has it.
func (a *Agent) backlogOf(p *delivery.ProfileStatus) error {
	id, err := a.spool.Register(p.Profile)
	if err != nil {
		return fmt.Errorf("find profile %s: %w", p.Profile, err)
	}
	backlog, err := a.spool.Backlog(id)
	p.BacklogEvents, p.BacklogBytes, p.Oldest = backlog.Events, backlog.Bytes, backlog.Oldest
	return err
}

// listAllProfiles is listProfiles, with what the machines know that deliver them.
func (a *Agent) listAllProfiles(ctx context.Context) ([]operation.ProfileListing, error) {
	statuses, err := a.engine.Status()
	if err != nil {
		return nil, err
	}
	report := &operation.StatusReport{Profiles: statuses}
	a.join(ctx, report)
	return a.listings(report.Profiles), nil
}

// join puts into this machine's report what others know better: the source's matters are those of
// the machine that captures, a profile's those of the machine that delivers it.
func (a *Agent) join(ctx context.Context, report *operation.StatusReport) {
	report.Cluster = a.clusterStatus(time.Now())
	reports := a.statuses(ctx)
	c := report.Cluster
	if captures := reports[c.Captures]; captures != nil {
		report.Source, report.Identity, report.Parked = captures.Source, captures.Identity, captures.Parked
		report.Backfills, report.Memory, report.Findings, report.Removed = captures.Backfills, captures.Memory, captures.Findings, captures.Removed
	}
	own := report.Profiles
	report.Profiles = []delivery.ProfileStatus{}
	for _, o := range c.Profiles {
		list := own
		if theirs := reports[o.Machine]; theirs != nil {
			list = theirs.Profiles
		}
		p := delivery.ProfileStatus{Profile: o.Profile, State: "waiting", Reason: reasonUnowned, Breaker: "closed"}
		if at := slices.IndexFunc(list, func(q delivery.ProfileStatus) bool { return q.Profile == o.Profile }); at >= 0 {
			p = list[at]
		} else if err := a.backlogOf(&p); err != nil {
			report.Attention = append(report.Attention, err.Error())
		}
		p.Machine = o.Machine
		report.Profiles = append(report.Profiles, p)
	}
	for _, m := range c.Machines {
		switch theirs, asked := reports[m.Name]; {
		case theirs != nil:
			for _, text := range theirs.Attention {
				report.Attention = append(report.Attention, fmt.Sprintf("machine %s: %s", m.Name, text))
			}
			if theirs.Spool.Error != "" {
				report.Attention = append(report.Attention, fmt.Sprintf("machine %s: spool: %s", m.Name, theirs.Spool.Error))
			}
		case asked:
			report.Attention = append(report.Attention, fmt.Sprintf("machine %s does not answer: what it knows is left out", m.Name))
		}
	}
	slices.Sort(report.Attention)
}

// judgeCluster says what needs a hand in a cluster.
func judgeCluster(c *operation.ClusterStatus, say func(format string, args ...any)) {
	if !c.Quorum {
		say("the cluster's servers have no quorum since %s: nothing is stored and nothing is sent, and the database keeps its log; start the servers that are down",
			operation.FormatDuration(time.Duration(c.SecondsSince*float64(time.Second))))
	}
	if c.Captures == "" {
		say("no machine of the cluster captures: changes wait in the database")
	}
	var waiting []string
	for _, p := range c.Profiles {
		if p.Machine == "" {
			waiting = append(waiting, p.Profile)
		}
	}
	if len(waiting) > 0 {
		say("no machine of the cluster delivers %d profiles, such as %s", len(waiting), waiting[0])
	}
	config := ""
	for _, m := range c.Machines {
		switch {
		case !m.Live:
			say("machine %s has not been heard of for %s", m.Name, operation.FormatDuration(time.Duration(m.SeenSeconds*float64(time.Second))))
		case cmp.Or(config, m.Config) != m.Config:
			say("machine %s has another config than others of the cluster: give all the same, and `rowhook reload`", m.Name)
		default:
			config = m.Config
		}
	}
}

// addReadiness adds why this machine is not ready to do its part.
func (n *node) addReadiness(h *operation.Health, now time.Time) {
	view := n.replica.View()
	switch {
	case view.CameBack.IsZero():
		h.Add("quorum", "this machine has not been heard in the cluster's stream yet")
	case !n.quorum(&view, now):
		h.Add("quorum", "the cluster's servers have no quorum since %s: nothing is stored and nothing is sent", operation.FormatDuration(now.Sub(view.CameBack)))
	}
	if n := behind(&view); n > behindMost {
		h.Add("behind", "this machine has %d messages of the cluster's stream to apply", n)
	}
}

// clusterMetrics are those of the cluster, as this machine sees it.
type clusterMetrics struct{ live, captures, owned, quorum, since, behind, bytes, epoch metric }

func newClusterMetrics() clusterMetrics {
	return clusterMetrics{
		live:     gauge("cluster_machine_live", "1 while a machine's lease has not ended.", "machine"),
		captures: gauge("cluster_captures", "1 while this machine captures."),
		epoch:    gauge("cluster_capture_epoch", "Counts the machines that captured, one after the other."),
		owned:    gauge("cluster_profiles_owned", "Profiles that this machine delivers."),
		quorum:   gauge("cluster_quorum", "1 while most of the servers keep what this machine tells them."),
		since:    gauge("cluster_last_message_seconds", "How long ago the last message came back from the stream."),
		behind:   gauge("cluster_behind_messages", "Messages of the stream that this machine has still to apply."),
		bytes:    gauge("cluster_stream_bytes", "What the stream takes on each of its servers."),
	}
}

func (m *agentMetrics) collectCluster(c *collection) {
	if !m.agent.shared() {
		return
	}
	s := m.agent.clusterStatus(c.now)
	owned := 0
	for _, p := range s.Profiles {
		if p.Machine == s.Machine {
			owned++
		}
	}
	for _, one := range s.Machines {
		c.put(m.cluster.live, c.flag(one.Live), one.Name)
	}
	c.put(m.cluster.captures, c.flag(s.Captures == s.Machine))
	c.put(m.cluster.epoch, float64(s.Epoch))
	c.put(m.cluster.owned, float64(owned))
	c.put(m.cluster.quorum, c.flag(s.Quorum))
	c.put(m.cluster.since, s.SecondsSince)
	c.put(m.cluster.behind, float64(s.Stream.Behind))
	c.put(m.cluster.bytes, float64(s.Stream.Bytes))
}
