package mysql

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
)

// peekID is how our connections that only look differ from the one that streams, which a server
// would end for another with its id.
const peekID = 0x10000000

// nextCommit tells when the first transaction behind a place was committed; zero when there is
// none.
func (s *Source) nextCommit(ctx context.Context, h host, mariaDB bool, from *place) (time.Time, error) {
	return s.peek(ctx, h, request{mariaDB: mariaDB, from: from}, func(kind replication.EventType) bool {
		switch kind {
		case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.MARIADB_GTID_EVENT:
			return true
		}
		return false
	})
}

// begun tells when a file of the binlog was begun.
func (s *Source) begun(ctx context.Context, h host, file string) (time.Time, error) {
	first := place{file: filePlace{name: file, offset: 4}}
	return s.peek(ctx, h, request{from: &first}, func(kind replication.EventType) bool { return kind == replication.FORMAT_DESCRIPTION_EVENT })
}

// peek reads events until one is wanted, and tells its time; zero when the binlog ends before.
func (s *Source) peek(ctx context.Context, h host, q request, wanted func(replication.EventType) bool) (time.Time, error) {
	q.once, q.serverID = true, s.serverID^peekID
	d, err := s.openDump(ctx, h, q)
	if err != nil {
		return time.Time{}, err
	}
	defer d.close()
	defer context.AfterFunc(ctx, d.close)()
	for {
		head, err := d.next()
		if errors.Is(err, errEnded) {
			return time.Time{}, nil
		}
		if err != nil {
			return time.Time{}, err
		}
		if wanted(replication.EventType(head.kind)) && head.at != 0 {
			return time.Unix(int64(head.at), 0), nil
		}
		if d.bodySize(head) > keepMost {
			_, err = io.Copy(io.Discard, &d.in)
		} else {
			_, err = d.body(head)
		}
		if err != nil {
			return time.Time{}, err
		}
	}
}
