package mysql

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestInet6 writes addresses with gaps of every length and place as MariaDB does.
func TestInet6(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, "mariadb")
	var selects []string
	r := rand.New(rand.NewPCG(1, 1))
	for zeros := range 256 {
		var b [16]byte
		for i := range 8 {
			if zeros>>i&1 == 0 {
				b[2*i], b[2*i+1] = byte(r.UintN(3)), byte(r.UintN(256))
			}
		}
		selects = append(selects, fmt.Sprintf("SELECT '%x', CAST(UNHEX('%x') AS INET6)", b, b))
	}
	for _, literal := range []string{"::ffff:192.0.2.1", "::ffff:0:1", "::192.0.2.1", "::1", "::", "::fffe:1:2", "1::ffff:1:2"} {
		selects = append(selects, fmt.Sprintf("SELECT HEX(CAST(CAST('%[1]s' AS INET6) AS BINARY(16))), CAST('%[1]s' AS INET6)", literal))
	}
	rows, err := s.Query(t.Context(), "", strings.Join(selects, " UNION ALL "))
	capturetest.Must(t, err)
	for _, row := range rows {
		v, err := hex.DecodeString(row[0])
		capturetest.Must(t, err)
		if got, _ := appendInet6(nil, nil, v); string(got) != row[1] {
			t.Errorf("%x is %s, the server says %s", v, got, row[1])
		}
	}
	if len(rows) != len(selects) {
		t.Errorf("%d addresses of %d", len(rows), len(selects))
	}
}

// payloadsOf notes the rows of an empty database on a shared server, as payloads have their values.
func payloadsOf(t *testing.T, flavour string) (s *testServer, database string, n *notes) {
	s = sharedServer(t, flavour)
	database, n = s.database(t), newNotes()
	n.json = true
	n.capture(t, newTestSource(t, s, database), capture.StartOptions{})
	return s, database, n
}

// TestEmptyGeometry flags what MariaDB stores in a column that may not be NULL where nothing is
// given.
func TestEmptyGeometry(t *testing.T) {
	t.Parallel()
	s, database, n := payloadsOf(t, "mariadb")
	s.session(t, "USE "+database, "SET sql_mode = ''", "CREATE TABLE shapes (g POINT NOT NULL, id INT)", "INSERT INTO shapes (id) VALUES (1)")
	n.await(t, `{g:"" (flagged) id:1}`)
}

// TestLabelsThatAreNoText flags labels which MySQL's CONVERT TO leaves as the bytes of the charset
// before.
func TestLabelsThatAreNoText(t *testing.T) {
	t.Parallel()
	s, database, n := payloadsOf(t, "mysql")
	s.session(t, "USE "+database, "CREATE TABLE marks (e ENUM('é', 'b') CHARACTER SET latin1, s SET('é', 'b', 'c') CHARACTER SET latin1)", "INSERT INTO marks VALUES ('é', 'é,b,c')",
		"ALTER TABLE marks CONVERT TO CHARACTER SET utf8mb4", "INSERT INTO marks VALUES (1, 7)", "INSERT INTO marks VALUES (2, 2)")
	lines := n.await(t, `{e:"b" s:["b"]}`)
	if want := `{e:"6Q==" (flagged) s:["6Q==","b","c"] (flagged)}`; !strings.HasSuffix(lines[3], want) {
		t.Errorf("got\n%s\nwant %s", strings.Join(lines, "\n"), want)
	}
}

// TestVectorsOfOtherBytes flags vectors that MySQL's ALTER makes of bytes which are no floats.
func TestVectorsOfOtherBytes(t *testing.T) {
	t.Parallel()
	s, database, n := payloadsOf(t, "mysql")
	s.session(t, "USE "+database, "CREATE TABLE points (id INT PRIMARY KEY, v BLOB)", "INSERT INTO points VALUES (1, x'ffffff'), (2, x'0000803f')",
		"ALTER TABLE points MODIFY v VECTOR(2)", "UPDATE points SET id = id + 10")
	n.await(t, `old={id:1 v:"////" (flagged)} new={id:11 v:"////" (flagged)}`)
	n.await(t, `old={id:2 v:[1]} new={id:12 v:[1]}`)
}
