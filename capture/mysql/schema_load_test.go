package mysql

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"rowhook/capture/capturetest"
)

var loadRow = regexp.MustCompile(`insert loans .* new=\{.*\bid:(\d+) .*\bv:row (\d+)\b`)

// TestSchemaChangesUnderLoad adds, renames and drops columns and swaps tables as gh-ost does, while
// others write: each row arrives once, whole, under its columns' names.
func TestSchemaChangesUnderLoad(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		const writers, rows = 3, 120
		database, _, n, stop := s.follow(t, "id INT PRIMARY KEY, a INT, v VARCHAR(100)")
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for i := range rows {
					id := w*rows + i
					insert := fmt.Sprintf("INSERT INTO %s.loans (id, v) VALUES (%d, 'row %d')", database, id, id)
					for try := 0; ; try++ { // a table that is being changed may refuse a moment
						if _, err := s.db.ExecContext(context.Background(), insert); err == nil {
							break
						} else if try == 100 {
							t.Errorf("%s: %v", insert, err)
							return
						}
					}
				}
			})
		}
		written := make(chan struct{})
		go func() { writing.Wait(); close(written) }()
		changes := 0
		for done := false; !done; changes++ {
			for _, statement := range []string{"ALTER TABLE loans ADD COLUMN b BIGINT UNSIGNED DEFAULT 7 FIRST", "ALTER TABLE loans CHANGE b c VARCHAR(20)", "ALTER TABLE loans DROP COLUMN c",
				"CREATE TABLE loans_gho (id INT PRIMARY KEY, d DATE, v VARCHAR(200), a INT)", "RENAME TABLE loans TO loans_del, loans_gho TO loans", "DROP TABLE loans_del"} {
				capturetest.Must(t, s.Exec(t.Context(), database, statement))
			}
			select {
			case <-written:
				done = true
			default:
			}
		}
		s.exec(t, "CREATE TABLE "+database+".done (id INT)", "INSERT INTO "+database+".done VALUES (1)")
		lines := n.await(t, "insert done")
		stop()
		seen := map[string]int{}
		for _, line := range lines {
			if m := loadRow.FindStringSubmatch(line); m != nil && m[1] == m[2] {
				seen[m[1]]++
			} else if line != "begin" && !strings.Contains(line, "insert done") {
				t.Errorf("line %s", line)
			}
		}
		for id := range writers * rows {
			if seen[fmt.Sprint(id)] != 1 {
				t.Errorf("row %d came %d times", id, seen[fmt.Sprint(id)])
			}
		}
		t.Logf("%d rows and %d rounds of changes", len(seen), changes)
	})
}
