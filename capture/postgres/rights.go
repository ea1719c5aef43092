package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// decodingRemedy is how logical decoding is switched on. From 19 on a server does so by itself
// while there is a logical slot, and its standbys follow it.
func decodingRemedy(server capture.Server) string {
	const restart = "wal_level = logical in postgresql.conf, then restart the server"
	switch {
	case server.Standby && server.Version >= 190000:
		return "on the primary: SELECT pg_create_logical_replication_slot('rowhook_standby', 'pgoutput');  a logical slot there switches decoding on here too, without a restart (it has to be moved on, or dropped with ours)"
	case server.Standby:
		return "on the primary: " + restart
	case server.Version >= 190000:
		return "wal_level = replica in postgresql.conf, then restart the server"
	}
	return restart
}

// pluginFacts are what a server says of who may stream from it.
type pluginFacts struct {
	libraries *string // output_plugin_libraries, from 19 on, if our role is shown it
	entitled  bool    // our role may replicate
}

// The setting is not shown to roles without pg_read_all_settings; asking for it outright would be
// an error.
const pluginSQL = `select (select setting from pg_catalog.pg_settings where name = 'output_plugin_libraries'),
  coalesce((select rolsuper or rolreplication from pg_catalog.pg_roles where rolname = current_user), false)`

func readPluginFacts(ctx context.Context, q *querier) (f pluginFacts, err error) {
	err = q.within(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, pluginSQL).Scan(&f.libraries, &f.entitled)
	})
	return f, err
}

// remedy lets slots use pgoutput beside what they may use already; empty where they may.
func (f *pluginFacts) remedy() string {
	if f.libraries == nil {
		return ""
	}
	var listed []string
	for _, name := range strings.Split(*f.libraries, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		if name == "pgoutput" {
			return ""
		}
		if name != "" {
			listed = append(listed, quoteLiteral(name))
		}
	}
	return "ALTER SYSTEM SET output_plugin_libraries = " + strings.Join(append(listed, "'pgoutput'"), ", ") + "; SELECT pg_reload_conf();"
}

// rightsRemedy is what a server wants that refuses to let us stream: a right of the role, or from
// 19 on that pgoutput may be used.
func (s *Source) rightsRemedy(answer *pgconn.PgError) string {
	query := s.newQuerier(streamQueryTimeout)
	defer query.close()
	facts, err := readPluginFacts(context.Background(), query)
	switch {
	case err == nil && facts.remedy() != "":
		return facts.remedy()
	case err == nil && facts.entitled && answer.Hint != "": // what the server wants is not shown to our role
		return answer.Hint
	}
	return s.likelyRole().allowReplication(s.connect.User)
}

// pluginFindings tells of a server that would not let a slot use pgoutput.
func (s *Source) pluginFindings(ctx context.Context) ([]capture.Finding, error) {
	facts, err := readPluginFacts(ctx, s.query)
	if err != nil || facts.remedy() == "" {
		return nil, err
	}
	return []capture.Finding{{Severity: capture.Error, Code: "output_plugin_libraries", Subject: "output_plugin_libraries",
		Text: fmt.Sprintf("output_plugin_libraries is %q and does not have pgoutput: no slot can use it", *facts.libraries), Remedy: facts.remedy()}}, nil
}
