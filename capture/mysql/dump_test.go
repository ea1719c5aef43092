package mysql

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// asPackets writes contents as a server sends them, the first with number 1.
func asPackets(contents ...[]byte) []byte {
	var out []byte
	number := byte(1)
	for _, content := range contents {
		for done := false; !done; {
			piece := content[:min(len(content), pieceMost)]
			content = content[len(piece):]
			out = append(out, byte(len(piece)), byte(len(piece)>>8), byte(len(piece)>>16), number)
			out = append(out, piece...)
			number++
			done = len(piece) < pieceMost
		}
	}
	return out
}

// asEvent writes an event in its packet, with a checksum or without.
func asEvent(kind replication.EventType, body []byte, checksum bool) []byte {
	size := headerSize + len(body)
	if checksum {
		size += checksumSize
	}
	le := binary.LittleEndian
	e := append(le.AppendUint32(nil, 1), byte(kind))
	e = le.AppendUint32(le.AppendUint32(le.AppendUint32(e, 1), uint32(size)), 0)
	e = append(le.AppendUint16(e, 0), body...)
	if checksum {
		e = le.AppendUint32(e, crc32.ChecksumIEEE(e))
	}
	return append([]byte{gomysql.OK_HEADER}, e...)
}

func format(checksums byte) []byte {
	return asEvent(replication.FORMAT_DESCRIPTION_EVENT, append(make([]byte, 57), checksums), checksums == 1)
}

func dumpOf(b []byte) *dump {
	return &dump{in: packets{in: bufio.NewReader(bytes.NewReader(b)), number: 1}}
}

// readAll reads events until an error, and returns their bodies' sizes.
func (d *dump) readAll() (sizes []int, err error) {
	for {
		h, err := d.next()
		if err != nil {
			return sizes, err
		}
		body, err := d.body(h)
		if err != nil {
			return sizes, err
		}
		sizes = append(sizes, len(body))
	}
}

// TestDump reads events of every size, with and without checksums, and tells a broken stream from a
// broken connection.
func TestDump(t *testing.T) {
	t.Parallel()
	query := func(size int, checksum bool) []byte {
		return asEvent(replication.QUERY_EVENT, make([]byte, size), checksum)
	}
	damaged := query(100, true)
	damaged[60] ^= 1
	whole := asPackets(format(1), query(10, true))
	refusal := append([]byte{gomysql.ERR_HEADER, 0xd4, 0x04}, "#HY000binlog is missing"...)
	for _, c := range []struct {
		name  string
		bytes []byte
		sizes []int
		want  string // of the error
	}{
		{"sizes", asPackets(format(1), query(0, true), query(70_000, true), query(pieceMost-headerSize-checksumSize-1, true), query(40<<20, true)),
			[]int{58, 0, 70_000, pieceMost - headerSize - checksumSize - 1, 40 << 20}, "connection was cut"},
		{"without checksums", asPackets(format(0), query(10, false), format(1), query(10, true)), []int{58, 10, 58, 10}, "connection was cut"},
		{"cut in a head", whole[:len(whole)-30], []int{58}, "connection was cut"},
		{"cut in a body", whole[:len(whole)-3], []int{58}, "connection was cut"},
		{"damaged", asPackets(format(1), damaged), []int{58}, "checksum"},
		{"too short for a checksum", asPackets(format(1), query(2, false)), []int{58}, "too short"},
		{"wrong size", asPackets(append(query(10, false), 0)), nil, "another size"},
		{"wrong number", append(asPackets(format(1)), asPackets(query(1, true))...), []int{58}, "packet 1 came, 2 was expected"},
		{"end", asPackets([]byte{gomysql.EOF_HEADER, 0, 0}), nil, "ended the stream"},
		{"nothing", asPackets(nil), nil, "too early"},
		{"something else", asPackets([]byte{7}), nil, "begins with 7"},
		{"refused", asPackets(refusal), nil, "ERROR 1236 (HY000): binlog is missing"},
		{"refused without a text", asPackets([]byte{gomysql.ERR_HEADER, 1}), nil, "without its text"},
	} {
		sizes, err := dumpOf(c.bytes).readAll()
		if len(sizes) != len(c.sizes) || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, sizes, err)
			continue
		}
		for i := range sizes {
			if sizes[i] != c.sizes[i] {
				t.Errorf("%s: sizes %v, want %v", c.name, sizes, c.sizes)
			}
		}
		var malformed *streamError
		broken := c.want == "connection was cut" || c.name == "end" || c.name == "refused"
		if errors.As(err, &malformed) == broken {
			t.Errorf("%s: %T %v", c.name, err, err)
		}
	}
}

// FuzzDump reads anything: no panic, and no memory for what is only claimed.
func FuzzDump(f *testing.F) {
	f.Add(asPackets(format(1), asEvent(replication.XID_EVENT, make([]byte, 8), true), []byte{gomysql.EOF_HEADER}))
	f.Add(asPackets(append([]byte{gomysql.ERR_HEADER, 0xd4, 0x04}, "#HY000text"...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sizes, err := dumpOf(b).readAll(); err == nil || len(sizes) > len(b) {
			t.Errorf("%d events, %v", len(sizes), err)
		}
	})
}

// FuzzPayload takes compressed transactions apart.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("\x02\x01\xff\x00"))
	f.Add(append([]byte("\x02\x01\xff\x00"), asEvent(replication.XID_EVENT, make([]byte, 8), false)[1:]...))
	f.Add([]byte("\x02\x01\x00\x03\x01\x20\x00\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in inflater
		defer in.close()
		for range 2 {
			err := in.each(bytes.NewReader(b), func(_ header, body io.Reader, _ int) error { _, err := io.Copy(io.Discard, body); return err })
			var malformed *streamError
			if err != nil && !errors.As(err, &malformed) {
				t.Errorf("%T %v", err, err)
			}
		}
	})
}

// TestPayloadCut keeps a connection that breaks inside a compressed transaction apart from a
// malformed one.
func TestPayloadCut(t *testing.T) {
	t.Parallel()
	event := asEvent(replication.QUERY_EVENT, make([]byte, 2*keepMost), false)[1:]
	packet := asPackets(asEvent(replication.TRANSACTION_PAYLOAD_EVENT, append([]byte("\x02\x01\xff\x00"), event...), false))
	d := dumpOf(packet[:keepMost])
	h, err := d.next()
	capturetest.Must(t, err)
	var in inflater
	err = in.each(&d.in, func(_ header, body io.Reader, _ int) error { _, err := io.Copy(io.Discard, body); return err })
	var malformed *streamError
	if !errors.Is(err, errCut) || errors.As(err, &malformed) {
		t.Errorf("%d bytes: %T %v", h.size, err, err)
	}
}

// TestDamagedBinlog stops with the position at an event that is not what the server wrote, and at
// one that the server cannot read, after three tries each, and goes on behind it when told so.
func TestDamagedBinlog(t *testing.T) {
	t.Parallel()
	onOwn(t, nil, func(t *testing.T, s *testServer) {
		database, source, n, stop := s.follow(t, "id INT PRIMARY KEY, title VARCHAR(100)")
		insert := func(id int, title string) {
			s.exec(t, fmt.Sprintf("INSERT INTO %s.loans SELECT %d, CONCAT('%s', 'stine')", database, id, title))
		}
		insert(1, "whole")
		n.await(t, "wholestine")
		for i, c := range []struct {
			damage       func(log []byte, at int)
			want, remedy string
		}{
			{func(log []byte, at int) { log[at+2] = 'e' }, "checksum", "--verify-binlog-checksum binlog.00000"},
			{func(log []byte, at int) { // the size of the event that it lies in
				event := eventAt(log, at)
				copy(log[event+9:], "\x05\x00\x00\x00")
			}, "the server says: ", "mysqlbinlog binlog.00000"},
		} {
			stop()
			insert(10*i+2, "pri")
			damageBinlog(t, s, []byte("pristine"), c.damage)
			var lost []string
			err := runOnce(t, source, capture.StartOptions{Stored: n.Durable(), OnLost: func(err error) { lost = append(lost, err.Error()) }}, n)
			var operator *capture.OperatorError
			if !errors.As(err, &operator) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "at position "+string(n.Durable())) || len(lost) != capture.FailedTries-1 {
				t.Fatalf("got %v after %q", err, lost)
			}
			if !strings.Contains(operator.Remedy, c.remedy) || !strings.Contains(operator.Remedy, "--accept-gap") {
				t.Errorf("%v: remedy %s", err, operator.Remedy)
			}
			before := n.Durable()
			stop = n.capture(t, source, capture.StartOptions{AcceptGap: true})
			for n.Durable() == before { // the first three connections read it again
				<-n.news
			}
			insert(10*i+3, fmt.Sprint("after", i))
			n.await(t, fmt.Sprint("after", i))
		}
		stop()
		for _, line := range n.await(t, "after1") {
			if strings.Contains(line, "id:2 ") || strings.Contains(line, "id:12 ") {
				t.Errorf("a damaged event came: %s", line)
			}
		}
	})
}

// damageBinlog changes the last binlog file while its server is stopped; at is where a text lies
// last.
func damageBinlog(t *testing.T, s *testServer, text []byte, damage func(log []byte, at int)) {
	t.Helper()
	capturetest.Must(t, s.Stop())
	names, err := filepath.Glob(filepath.Join(s.DataDir, "binlog.0*"))
	capturetest.Must(t, err)
	for _, name := range slices.Backward(slices.Sorted(slices.Values(names))) {
		log, err := os.ReadFile(name)
		capturetest.Must(t, err)
		if at := bytes.LastIndex(log, text); at >= 0 && !strings.HasSuffix(name, ".idx") {
			damage(log, at)
			capturetest.Must(t, os.WriteFile(name, log, 0o600))
			capturetest.Must(t, s.Start())
			return
		}
	}
	t.Fatal("nothing to damage")
}

// eventAt returns where the event begins that the place lies in.
func eventAt(log []byte, at int) int {
	event := 4
	for {
		next := event + int(binary.LittleEndian.Uint32(log[event+9:]))
		if next > at {
			return event
		}
		event = next
	}
}
