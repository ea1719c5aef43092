package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// Check looks at everything that capture needs of the server and of the tables that the patterns
// name, and returns what it found, most general first, with what [Source.Tables] gives of them. An
// error means that it could not look; what a person has to fix is a finding.
func (s *Source) Check(ctx context.Context, patterns []string) (out []capture.Finding, tables []*capture.Table, err error) {
	out = s.tlsFindings()
	server, err := s.Identify(ctx)
	var remedy interface{ RemedyText() string }
	if err != nil && (!errors.As(err, &remedy) || !answered(err)) {
		return out, nil, s.explainFurther(ctx, err)
	}
	in, inspected := s.inspect(ctx, patterns)
	if inspected != nil {
		return out, nil, s.explainFurther(ctx, inspected)
	}
	if err != nil {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "replication_connection", Text: err.Error(), Remedy: remedy.RemedyText()})
	}
	facts, unread := s.readSettings(ctx)
	if unread != nil {
		return out, nil, unread
	}
	if err == nil {
		out = append(out, serverFindings(server, facts.role)...)
	}
	out = append(out, facts.findings(s.connect.User)...)
	out = append(out, facts.slotFindings(s.config.Slot, s.application)...)
	plugins, err := s.pluginFindings(ctx)
	if err != nil {
		return out, nil, fmt.Errorf("ask for output_plugin_libraries: %w", err)
	}
	out = append(out, plugins...)
	out = append(out, in.privilegeFindings(s.connect.User)...)
	out = append(out, in.differences(s.config.Publication)...)
	return append(out, in.advice()...), in.described(), nil
}

// answered reports whether a server, or a pooler, answered at all.
func answered(err error) bool {
	return errors.As(err, new(*pgconn.PgError)) || errors.As(err, new(*capture.OperatorError))
}

// tlsFindings warns of a connection whose server is not verified, unless it stays on this machine.
func (s *Source) tlsFindings() []capture.Finding {
	host := s.connect.Host
	if local(host) {
		return nil
	}
	tls := s.connect.TLSConfig
	for _, fallback := range s.connect.Fallbacks {
		if fallback.Host == host && fallback.TLSConfig == nil {
			tls = nil // sslmode=prefer or allow: what comes first does not bind
		}
	}
	finding := capture.Finding{Severity: capture.Warning, Code: "tls", Subject: host,
		Remedy: "add sslmode=verify-full (and sslrootcert, if the CA is your own) to source.url"}
	switch {
	case tls == nil:
		finding.Text = fmt.Sprintf("the connection to %s may go unencrypted", host)
	case tls.InsecureSkipVerify && tls.VerifyPeerCertificate == nil && tls.VerifyConnection == nil:
		finding.Text = fmt.Sprintf("the certificate of %s is not verified", host)
	default:
		return nil
	}
	return []capture.Finding{finding}
}

func serverFindings(server capture.Server, role roleFacts) []capture.Finding {
	var out []capture.Finding
	if server.SenderTimeout > 0 && server.SenderTimeout < time.Minute {
		out = append(out, capture.Finding{Severity: capture.Warning, Code: "wal_sender_timeout", Subject: "wal_sender_timeout",
			Text:   fmt.Sprintf("wal_sender_timeout is %s: a pause of the network or the machine ends the stream", server.SenderTimeout),
			Remedy: role.set("wal_sender_timeout", "1min", reload)})
	}
	if server.KeepSize < 0 {
		out = append(out, capture.Finding{Severity: capture.Info, Code: "max_slot_wal_keep_size", Subject: "max_slot_wal_keep_size",
			Text:   "max_slot_wal_keep_size is unlimited: while rowhook is stopped, WAL stays until the disk is full",
			Remedy: role.set("max_slot_wal_keep_size", "50GB", reload)})
	}
	return out
}

// settings are what the server's configuration, its slots and our role say.
type settings struct {
	version            int
	walLevel           string
	effective          string // effective_wal_level, which follows the slots from PostgreSQL 19 on; wal_level before
	maxSlots, slots    int
	maxSenders, sender int
	idleTimeout        string // idle_replication_slot_timeout; empty where there is none, or off
	keep               int64  // max_slot_wal_keep_size in bytes; negative is no limit
	database           string
	standby            bool
	feedback           bool // hot_standby_feedback
	role               roleFacts
	slot               slotFacts
}

// slotFacts are our slot, for people.
type slotFacts struct {
	exists, active          bool
	plugin, invalid, status string
	database                string
	needs                   int64  // bytes of WAL
	holder                  string // its application_name
	pid                     int32
}

// room is a limit that holds the WAL which the slot needs, and as much again.
func (s *slotFacts) room(limit int64) string {
	return fmt.Sprintf("%dGB", 2*max(s.needs, limit)>>30+1)
}

// settingsSQL leaves out the slots of REPACK (CONCURRENTLY), which have a limit of their own.
const settingsSQL = `select current_setting('server_version_num')::int, current_setting('wal_level'),
  coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')),
  current_setting('max_replication_slots')::int,
  (select count(*)::int from pg_catalog.pg_replication_slots where plugin is distinct from 'pgrepack'),
  current_setting('max_wal_senders')::int, (select count(*)::int from pg_catalog.pg_stat_get_wal_senders()),
  coalesce(current_setting('idle_replication_slot_timeout', true), ''),
  (select setting::bigint * 1048576 from pg_catalog.pg_settings where name = 'max_slot_wal_keep_size'), current_database(),
  pg_catalog.pg_is_in_recovery(), current_setting('hot_standby_feedback')::bool`

const slotFactsSQL = `select s.active, coalesce(s.plugin, ''),
  ` + invalidSQL + `,
  coalesce(s.wal_status, ''), coalesce(s.database, ''), coalesce(pg_catalog.pg_wal_lsn_diff(
    case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end, s.restart_lsn), 0)::bigint,
  coalesce(a.application_name, ''), coalesce(s.active_pid, 0)
from pg_catalog.pg_replication_slots s
cross join lateral (select pg_catalog.to_jsonb(s) as j) j
left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid
where s.slot_name = $1`

func (s *Source) readSettings(ctx context.Context) (*settings, error) {
	var f settings
	err := s.query.do(ctx, func(c *pgx.Conn) error {
		err := c.QueryRow(ctx, settingsSQL).Scan(&f.version, &f.walLevel, &f.effective, &f.maxSlots, &f.slots,
			&f.maxSenders, &f.sender, &f.idleTimeout, &f.keep, &f.database, &f.standby, &f.feedback)
		if err != nil {
			return err
		}
		if f.role, err = readRole(ctx, c, s.connect.User); err != nil {
			return err
		}
		err = c.QueryRow(ctx, slotFactsSQL, s.config.Slot).Scan(&f.slot.active, &f.slot.plugin,
			&f.slot.invalid, &f.slot.status, &f.slot.database, &f.slot.needs, &f.slot.holder, &f.slot.pid)
		f.slot.exists = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the server's settings: %w", err)
	}
	return &f, nil
}

func (f *settings) findings(role string) []capture.Finding {
	var out []capture.Finding
	add := func(severity capture.Severity, code, subject, text, remedy string) {
		out = append(out, capture.Finding{Severity: severity, Code: code, Subject: subject, Text: text, Remedy: remedy})
	}
	set := f.role.set
	if f.version < minVersion {
		add(capture.Error, "version", fmt.Sprint(f.version/10000), fmt.Sprintf("PostgreSQL %d is too old", f.version/10000),
			"rowhook needs PostgreSQL 14 or later")
	}
	f.decodingFindings(add)
	if !f.slot.exists && f.slots >= f.maxSlots {
		add(capture.Error, "max_replication_slots", fmt.Sprint(f.maxSlots),
			fmt.Sprintf("all %d replication slots are taken", f.maxSlots), set("max_replication_slots", fmt.Sprint(f.maxSlots+5), restart))
	}
	if !f.slot.active && f.sender >= f.maxSenders {
		add(capture.Error, "max_wal_senders", fmt.Sprint(f.maxSenders),
			fmt.Sprintf("all %d WAL senders are taken", f.maxSenders), set("max_wal_senders", fmt.Sprint(f.maxSenders+5), restart))
	}
	if !f.role.superuser && !f.role.replication {
		add(capture.Error, "replication_privilege", role, "role "+role+" may not start replication", f.role.allowReplication(role))
	}
	if f.idleTimeout != "" && f.idleTimeout != "0" {
		add(capture.Warning, "idle_replication_slot_timeout", f.idleTimeout,
			"idle_replication_slot_timeout is "+f.idleTimeout+": the slot is invalidated when rowhook is stopped for longer",
			set("idle_replication_slot_timeout", "0", reload))
	}
	const primary = "name the primary in source.url; with the hosts of both, target_session_attrs=read-write finds it"
	switch {
	case f.standby && f.version < standbyVersion:
		add(capture.Error, "standby", "", fmt.Sprintf("the server is a standby, which PostgreSQL %d does not decode on", f.version/10000), primary)
	case f.standby:
		add(capture.Warning, "standby", "", "the server is a standby: its slot ends with it, and is invalidated by conflicts with recovery", primary)
		if !f.feedback {
			add(capture.Error, "hot_standby_feedback", "off", "hot_standby_feedback is off: the slot will be invalidated",
				set("hot_standby_feedback", "on", reload)+" -- on the standby")
		}
	}
	return out
}

// standbyVersion is the first version with logical slots on a standby.
const standbyVersion = 160000

// onDemandVersion is the first version that turns logical decoding on with the first logical slot.
const onDemandVersion = 190000

// decodingOnPrimary lets a standby decode, whose primary has wal_level = replica.
const decodingOnPrimary = "SELECT pg_create_logical_replication_slot('rowhook_keeps_decoding_on', 'pgoutput'); -- on the primary, where it keeps WAL; or wal_level = 'logical' there, and a restart"

// decodingFindings judges whether the server can decode.
func (f *settings) decodingFindings(add func(severity capture.Severity, code, subject, text, remedy string)) {
	onDemand := f.version >= onDemandVersion && f.walLevel == "replica"
	switch {
	case f.effective == "logical" && f.walLevel != "logical":
		add(capture.Info, "wal_level", f.walLevel, "wal_level is "+f.walLevel+", and logical decoding is on (effective_wal_level) as long as there is a logical slot", "")
	case onDemand && f.standby && f.effective != "logical":
		add(capture.Error, "wal_level", f.walLevel, "wal_level is replica on the primary, and no logical slot there turns logical decoding on",
			decodingOnPrimary)
	case onDemand && !f.standby:
		add(capture.Info, "wal_level", f.walLevel, "wal_level is replica: the server turns logical decoding on with the first logical slot, and off with the last", "")
	case f.effective != "logical":
		add(capture.Error, "wal_level", f.walLevel, "wal_level is "+f.walLevel+", which has no logical decoding", f.role.set("wal_level", "logical", restart))
	}
}

func (f *settings) slotFindings(slot, application string) []capture.Finding {
	finding := capture.Finding{Severity: capture.Error, Code: "slot", Subject: slot}
	switch s := f.slot; {
	case !s.exists:
		finding.Severity, finding.Text = capture.Info, fmt.Sprintf("slot %s does not exist: a first run creates it, a later one stops at the gap", slot)
	case s.plugin == "":
		finding.Text, finding.Remedy = fmt.Sprintf("slot %s is a physical slot, which belongs to a standby or a backup", slot), "name another slot in source.slot"
	case s.plugin != "pgoutput":
		finding.Text, finding.Remedy = fmt.Sprintf("slot %s uses the plugin %q", slot, s.plugin), "name another slot in source.slot"
	case s.database != f.database:
		finding.Text, finding.Remedy = fmt.Sprintf("slot %s belongs to database %s", slot, s.database), "name another slot in source.slot"
	case s.invalid != "":
		finding.Text = fmt.Sprintf("slot %s has been invalidated (%s)", slot, s.invalid)
		finding.Remedy = "rowhook run --accept-gap"
	case s.active && s.holder != application:
		finding.Severity = capture.Warning
		finding.Text = fmt.Sprintf("slot %s is in use by pid %d, application_name %q", slot, s.pid, s.holder)
		finding.Remedy = fmt.Sprintf("SELECT pg_terminate_backend(%d); -- ends its connection, once the other agent is stopped; or name another slot in source.slot", s.pid)
	case s.status == "unreserved":
		finding.Severity = capture.Warning
		finding.Text = fmt.Sprintf("slot %s is about to lose WAL that it still needs", slot)
		finding.Remedy = f.role.set("max_slot_wal_keep_size", s.room(f.keep), reload) + " -- and let rowhook catch up"
	default:
		return nil
	}
	return []capture.Finding{finding}
}

// privilegeFindings names what the role may not read. The stream itself needs no SELECT,
// but reading tables again does.
func (in *inspection) privilegeFindings(role string) []capture.Finding {
	var out []capture.Finding
	schemas := map[string]bool{}
	for _, f := range in.tables {
		if f.streamed() != "" {
			continue
		}
		schema := f.schemaSQL()
		if !f.usage && !schemas[schema] {
			schemas[schema] = true
			out = append(out, capture.Finding{Severity: capture.Warning, Code: "usage_privilege", Subject: f.table.Schema,
				Text:   fmt.Sprintf("role %s may not use schema %s", role, f.table.Schema),
				Remedy: fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", schema, quoteIdent(role))})
		}
		if !f.selectable {
			out = append(out, capture.Finding{Severity: capture.Warning, Code: "select_privilege", Subject: f.table.String(), Table: f.table.String(),
				Text:   fmt.Sprintf("role %s may not read %s", role, f.table),
				Remedy: fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql, quoteIdent(role))})
		}
	}
	return out
}
