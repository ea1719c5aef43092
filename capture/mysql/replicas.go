package mysql

import (
	"context"
	"database/sql"
	"fmt"
)

const serverIDRemedy = "give source.server_id a number that no other replica of this server has"

// takenServerID looks for another replica with our server id: MariaDB ends the one's stream when
// the other's begins. It returns what it found; empty is nothing, or that our user may not ask.
func (s *Source) takenServerID(ctx context.Context, db *sql.DB, v map[string]string, mariaDB bool, version int) string {
	id := fmt.Sprint(s.serverID)
	if v["server_id"] == id {
		return "server_id " + id + " is the server's own"
	}
	query := "SHOW REPLICAS"
	if mariaDB || version < 80022 {
		query = "SHOW SLAVE HOSTS"
	}
	rows, err := db.QueryContext(ctx, query) //nolint:rowserrcheck // what cannot be read tells of no replica
	if err != nil {
		return ""
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || len(columns) < 2 {
		return ""
	}
	values := make([]sql.NullString, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if rows.Scan(targets...) == nil && values[0].String == id && values[1].String != s.replicaName() {
			return fmt.Sprintf("server_id %s is taken by replica %q", id, values[1].String)
		}
	}
	return ""
}
