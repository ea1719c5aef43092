package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// cloud is who runs the server, as far as its roles tell: some of what any other server takes,
// these do not.
type cloud string

const (
	amazon cloud = "amazon" // RDS and Aurora
	google cloud = "google" // Cloud SQL
	azure  cloud = "azure"  // Azure Database for PostgreSQL
)

// roleFacts are what our role may do, and where.
type roleFacts struct {
	exists, superuser, replication bool
	cloud                          cloud
}

// cloudSQL tells clouds by the administrators' roles that they make in every database server.
const cloudSQL = `select case
  when exists (select from pg_catalog.pg_roles where rolname = 'rds_superuser') then 'amazon'
  when exists (select from pg_catalog.pg_roles where rolname = 'cloudsqlsuperuser') then 'google'
  when exists (select from pg_catalog.pg_roles where rolname = 'azure_pg_admin') then 'azure'
  else '' end`

// roleSQL takes membership in rds_replication for the right to replicate: Amazon's servers grant it
// so.
const roleSQL = `select r.rolsuper, r.rolreplication or coalesce((
    select pg_catalog.pg_has_role(r.oid, g.oid, 'member') from pg_catalog.pg_roles g where g.rolname = 'rds_replication'), false)
from pg_catalog.pg_roles r where r.rolname = $1`

func readRole(ctx context.Context, c *pgx.Conn, name string) (roleFacts, error) {
	var r roleFacts
	if err := c.QueryRow(ctx, cloudSQL).Scan(&r.cloud); err != nil {
		return r, fmt.Errorf("look who runs the server: %w", err)
	}
	err := c.QueryRow(ctx, roleSQL, name).Scan(&r.superuser, &r.replication)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, nil
	}
	r.exists = err == nil
	return r, err
}

// allowReplication is the statement that lets a role replicate.
func (r roleFacts) allowReplication(role string) string {
	if r.cloud == amazon {
		return fmt.Sprintf("GRANT rds_replication TO %s;", quoteIdent(role))
	}
	return fmt.Sprintf("ALTER ROLE %s REPLICATION;", quoteIdent(role))
}

// effect is what it takes until a setting holds.
type effect bool

const (
	reload  effect = false
	restart effect = true
)

// set says how a setting is changed: by a statement, or where the cloud takes none, in its own way.
func (r roleFacts) set(name, value string, takes effect) string {
	then := ""
	if takes == restart {
		then = ", then restart it"
	}
	switch r.cloud {
	case amazon:
		if name == "wal_level" {
			name, value = "rds.logical_replication", "1"
		}
		return fmt.Sprintf("%s = %s in the instance's parameter group (the cluster's, for Aurora)%s", name, value, then)
	case google:
		if name == "wal_level" {
			name, value = "cloudsql.logical_decoding", "on"
		}
		return fmt.Sprintf("%s = %s in the instance's database flags%s", name, value, then)
	case azure:
		return fmt.Sprintf("%s = %s in the server's parameters%s", name, value, then)
	}
	if takes == restart {
		return fmt.Sprintf("ALTER SYSTEM SET %s = '%s'; -- then restart the server", name, value)
	}
	return fmt.Sprintf("ALTER SYSTEM SET %s = '%s'; SELECT pg_reload_conf();", name, value)
}
