package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

const writersSQL = `select distinct case when a.grantee = 0 then 'PUBLIC' else pg_catalog.pg_get_userbyid(a.grantee)::text end
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) a
where n.nspname = $1 and c.relname = $2 and a.privilege_type = 'INSERT' order by 1`

// Writers lists the roles that may insert into a table, as its grants have it: "PUBLIC" for
// everybody. Members of these roles and superusers may, too.
func (s *Source) Writers(ctx context.Context, table string) (names []string, complete bool, err error) {
	schema, name, _ := capture.ParseTable(table)
	err = s.query.do(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, writersSQL, schema, name)
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("ask who may write %s: %w", table, err)
	}
	return names, true, nil
}
