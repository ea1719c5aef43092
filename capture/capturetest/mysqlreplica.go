package capturetest

import (
	"context"
	"fmt"
)

// Follow makes the server a replica of another one of its kind, by GTID. It has to be
// new: what it has written itself would be in its primary's way.
func (s *MySQLServer) Follow(ctx context.Context, primary *MySQLServer) error {
	statements := []string{
		fmt.Sprintf("change replication source to source_host = '127.0.0.1', source_port = %d, source_user = '%s',"+
			" source_auto_position = 1, get_source_public_key = 1, source_connect_retry = 1", primary.Port, MySQLRoot),
		"start replica",
	}
	if s.MariaDB {
		statements = []string{
			fmt.Sprintf("change master to master_host = '127.0.0.1', master_port = %d, master_user = '%s',"+
				" master_use_gtid = slave_pos, master_connect_retry = 1, master_ssl = 0", primary.Port, MySQLRoot),
			"start slave",
		}
	}
	if err := s.Exec(ctx, "", statements...); err != nil {
		return fmt.Errorf("follow %s: %w", primary, err)
	}
	return nil
}

// AwaitReplica waits until the replica has all that this server has written.
func (s *MySQLServer) AwaitReplica(ctx context.Context, replica *MySQLServer) error {
	written, wait := "select @@global.gtid_executed", "select wait_for_executed_gtid_set('%s', %d)"
	if s.MariaDB {
		written, wait = "select @@global.gtid_binlog_pos", "select master_gtid_wait('%s', %d)"
	}
	have, err := s.Query(ctx, "", written)
	if err != nil {
		return fmt.Errorf("ask for what was written: %w", err)
	}
	got, err := replica.Query(ctx, "", fmt.Sprintf(wait, have[0][0], int(patience.Seconds()/2)))
	if err != nil {
		return fmt.Errorf("wait for the replica: %w", err)
	}
	if got[0][0] != "0" {
		return fmt.Errorf("the replica lacks some of %s\n%s", have[0][0], replica.Log())
	}
	return nil
}

// Promote ends a replica's following, so that it is a server of its own.
func (s *MySQLServer) Promote(ctx context.Context) error {
	statements := []string{"stop replica", "reset replica all"}
	if s.MariaDB {
		statements = []string{"stop slave", "reset slave all"}
	}
	if err := s.Exec(ctx, "", statements...); err != nil {
		return fmt.Errorf("promote %s: %w", s, err)
	}
	return nil
}
