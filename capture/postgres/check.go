package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// Check looks at everything that capture needs of the server and of the tables that
// the patterns name, and returns what it found, most general first. An error means that it could not look;
// what a person has to mend is a finding.
func (s *Source) Check(ctx context.Context, patterns []string) ([]capture.Finding, error) {
	out := s.tlsFindings()
	server, err := s.Identify(ctx)
	var operator *capture.OperatorError
	switch {
	case errors.As(err, &operator):
		out = append(out, capture.Finding{Severity: capture.Error, Code: "replication_connection",
			Text: err.Error(), Remedy: operator.Remedy})
	case err != nil:
		return out, err
	default:
		out = append(out, serverFindings(server)...)
	}
	in, err := s.inspect(ctx, patterns)
	if err != nil {
		return out, err
	}
	facts, err := s.readSettings(ctx)
	if err != nil {
		return out, err
	}
	out = append(out, facts.findings(s.connect.User)...)
	out = append(out, facts.slotFindings(s.config.Slot, s.application)...)
	out = append(out, in.privilegeFindings(s.connect.User)...)
	out = append(out, in.differences(s.config.Publication)...)
	return append(out, in.advice()...), nil
}

// tlsFindings warns of a connection whose server is not verified, unless it stays on this machine.
func (s *Source) tlsFindings() []capture.Finding {
	host := s.connect.Host
	if strings.HasPrefix(host, "/") || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
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

func serverFindings(server capture.Server) []capture.Finding {
	var out []capture.Finding
	if server.SenderTimeout > 0 && server.SenderTimeout < time.Minute {
		out = append(out, capture.Finding{Severity: capture.Warning, Code: "wal_sender_timeout", Subject: "wal_sender_timeout",
			Text:   fmt.Sprintf("wal_sender_timeout is %s: a pause of the network or the machine ends the stream", server.SenderTimeout),
			Remedy: "ALTER SYSTEM SET wal_sender_timeout = '1min'; SELECT pg_reload_conf();"})
	}
	if server.KeepSize < 0 {
		out = append(out, capture.Finding{Severity: capture.Info, Code: "max_slot_wal_keep_size", Subject: "max_slot_wal_keep_size",
			Text:   "max_slot_wal_keep_size is unlimited: while rowhook is stopped, WAL stays until the disk is full",
			Remedy: "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();"})
	}
	return out
}

// settings are what the server's configuration, its slots and our role say.
type settings struct {
	version            int
	walLevel           string
	maxSlots, slots    int
	maxSenders, sender int
	idleTimeout        string // idle_replication_slot_timeout; empty where there is none, or off
	standby            bool
	feedback           bool // hot_standby_feedback
	role               roleFacts
	slot               slotFacts
}

type roleFacts struct {
	exists, superuser, replication bool
}

// slotFacts are our slot, for people.
type slotFacts struct {
	exists, active          bool
	plugin, invalid, status string
	holder                  string // its application_name
	pid                     int32
}

const settingsSQL = `select current_setting('server_version_num')::int, current_setting('wal_level'),
  current_setting('max_replication_slots')::int, (select count(*)::int from pg_catalog.pg_replication_slots),
  current_setting('max_wal_senders')::int, (select count(*)::int from pg_catalog.pg_stat_get_wal_senders()),
  coalesce(current_setting('idle_replication_slot_timeout', true), ''),
  pg_catalog.pg_is_in_recovery(), current_setting('hot_standby_feedback')::bool`

const roleSQL = `select rolsuper, rolreplication or pg_catalog.pg_has_role(oid, 'rds_replication', 'member')
from pg_catalog.pg_roles where rolname = $1`

const slotFactsSQL = `select s.active, coalesce(s.plugin, ''),
  coalesce(j.j ->> 'invalidation_reason', case when s.wal_status = 'lost' then 'wal_removed' end, ''),
  coalesce(s.wal_status, ''), coalesce(a.application_name, ''), coalesce(s.active_pid, 0)
from pg_catalog.pg_replication_slots s
cross join lateral (select pg_catalog.to_jsonb(s) as j) j
left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid
where s.slot_name = $1`

func (s *Source) readSettings(ctx context.Context) (*settings, error) {
	var f settings
	err := s.query.do(ctx, func(c *pgx.Conn) error {
		err := c.QueryRow(ctx, settingsSQL).Scan(&f.version, &f.walLevel, &f.maxSlots, &f.slots,
			&f.maxSenders, &f.sender, &f.idleTimeout, &f.standby, &f.feedback)
		if err != nil {
			return err
		}
		if f.role, err = readRole(ctx, c, s.connect.User); err != nil {
			return err
		}
		err = c.QueryRow(ctx, slotFactsSQL, s.config.Slot).Scan(&f.slot.active, &f.slot.plugin,
			&f.slot.invalid, &f.slot.status, &f.slot.holder, &f.slot.pid)
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

func readRole(ctx context.Context, c *pgx.Conn, name string) (roleFacts, error) {
	r := roleFacts{exists: true}
	sql := roleSQL
	var rds bool
	if err := c.QueryRow(ctx, `select exists(select from pg_catalog.pg_roles where rolname = 'rds_replication')`).Scan(&rds); err != nil {
		return r, err
	}
	if !rds { // only Amazon's servers grant replication by a role of its own
		sql = `select rolsuper, rolreplication from pg_catalog.pg_roles where rolname = $1`
	}
	err := c.QueryRow(ctx, sql, name).Scan(&r.superuser, &r.replication)
	if errors.Is(err, pgx.ErrNoRows) {
		return roleFacts{}, nil
	}
	return r, err
}

func (f *settings) findings(role string) []capture.Finding {
	var out []capture.Finding
	add := func(severity capture.Severity, code, subject, text, remedy string) {
		out = append(out, capture.Finding{Severity: severity, Code: code, Subject: subject, Text: text, Remedy: remedy})
	}
	if f.version < minVersion {
		add(capture.Error, "version", fmt.Sprint(f.version/10000), fmt.Sprintf("PostgreSQL %d is too old", f.version/10000),
			"rowhook needs PostgreSQL 14 or later")
	}
	if f.walLevel != "logical" {
		add(capture.Error, "wal_level", f.walLevel, "wal_level is "+f.walLevel+", which has no logical decoding",
			"ALTER SYSTEM SET wal_level = 'logical'; then restart the server")
	}
	if !f.slot.exists && f.slots >= f.maxSlots {
		add(capture.Error, "max_replication_slots", fmt.Sprint(f.maxSlots),
			fmt.Sprintf("all %d replication slots are taken", f.maxSlots),
			fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; then restart the server", f.maxSlots+5))
	}
	if !f.slot.active && f.sender >= f.maxSenders {
		add(capture.Error, "max_wal_senders", fmt.Sprint(f.maxSenders),
			fmt.Sprintf("all %d WAL senders are taken", f.maxSenders),
			fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart the server", f.maxSenders+5))
	}
	if !f.role.superuser && !f.role.replication {
		add(capture.Error, "replication_privilege", role, "role "+role+" may not start replication",
			fmt.Sprintf("ALTER ROLE %s REPLICATION;", quoteIdent(role)))
	}
	if f.idleTimeout != "" && f.idleTimeout != "0" {
		add(capture.Warning, "idle_replication_slot_timeout", f.idleTimeout,
			"idle_replication_slot_timeout is "+f.idleTimeout+": the slot is invalidated when rowhook is stopped for longer",
			"ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();")
	}
	if f.standby {
		add(capture.Warning, "standby", "", "the server is a standby: its slot ends with it, and is invalidated by conflicts with recovery",
			"prefer the primary")
		if !f.feedback {
			add(capture.Error, "hot_standby_feedback", "off", "hot_standby_feedback is off: the slot will be invalidated",
				"ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); on the standby")
		}
	}
	return out
}

func (f *settings) slotFindings(slot, application string) []capture.Finding {
	finding := capture.Finding{Severity: capture.Error, Code: "slot", Subject: slot}
	switch s := f.slot; {
	case !s.exists:
		finding.Severity, finding.Text = capture.Info, fmt.Sprintf("slot %s does not exist: a first run creates it, a later one stops at the gap", slot)
	case s.plugin != "pgoutput":
		finding.Text, finding.Remedy = fmt.Sprintf("slot %s uses the plugin %q", slot, s.plugin), "name another slot in source.slot"
	case s.invalid != "":
		finding.Text = fmt.Sprintf("slot %s has been invalidated (%s)", slot, s.invalid)
		finding.Remedy = "rowhook run --accept-gap"
	case s.active && s.holder != application:
		finding.Severity = capture.Warning
		finding.Text = fmt.Sprintf("slot %s is in use by pid %d, application_name %q", slot, s.pid, s.holder)
		finding.Remedy = "stop the other agent, or name another slot in source.slot"
	case s.status == "unreserved":
		finding.Severity = capture.Warning
		finding.Text = fmt.Sprintf("slot %s is about to lose WAL that it still needs", slot)
		finding.Remedy = "let rowhook catch up, and raise max_slot_wal_keep_size"
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
		schema, _, _ := strings.Cut(f.sql, ".")
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
