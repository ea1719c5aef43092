package conformance

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MySQL is the dialect of MySQL 8.0 and later. It has no logical messages: what a
// statement's comment says belongs to the source's own tests.
func MySQL() Dialect {
	return Dialect{
		Name: "mysql",
		Differs: map[string]string{
			"truncate": "TRUNCATE is a transaction of its own, and commits what was open",
			"boolean":  "BOOLEAN is TINYINT(1), whose values are numbers",
			"cascade":  "what a foreign key's cascade deletes comes first; servers before 9.6 do not show it",
		},
		WholeStream: true,
		LongText:    "longtext",
		Instant:     "timestamp(6)",
		DateTime:    "datetime(6)",
		Bytes:       "varbinary(100)",
		JSON:        "json",
		Hex:         func(digits string) string { return "unhex('" + digits + "')" },
		Prepared: func(id string) Prepared {
			return Prepared{
				Begin:    []string{"xa start '" + id + "'"},
				Prepare:  []string{"xa end '" + id + "'", "xa prepare '" + id + "'"},
				Commit:   []string{"xa commit '" + id + "'"},
				Rollback: []string{"xa rollback '" + id + "'"},
			}
		},
	}
}

// MariaDB is the dialect of MariaDB 10.6 and later.
func MariaDB() Dialect {
	d := MySQL()
	d.Name = "mariadb"
	d.Differs["cascade"] = "InnoDB carries a foreign key's cascade out below the binary log"
	d.Differs["json"] = "JSON is text as it was written, not in a normal form"
	return d
}

// SQLSession is a session on a connection to MySQL or MariaDB.
func SQLSession(conn *sql.Conn) Session { return sqlSession{conn} }

type sqlSession struct{ conn *sql.Conn }

func (s sqlSession) Close(t testing.TB) {
	t.Helper()
	if err := s.conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// Exec waits for what belongs to a session that has been closed, which the server notices
// a moment later: until then it does not give away what that session prepared.
func (s sqlSession) Exec(t testing.TB, sql string) {
	t.Helper()
	const xidUnknown = 1397 // ER_XAER_NOTA
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		_, err := s.conn.ExecContext(ctx, sql)
		var refused *mysql.MySQLError
		if !errors.As(err, &refused) || refused.Number != xidUnknown {
			if err != nil {
				t.Fatalf("%.100s: %v", sql, err)
			}
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%.100s: %v", sql, err)
		}
	}
}
