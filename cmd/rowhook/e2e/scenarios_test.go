package e2e_test

// planned is a scenario as the list has it. Why there is none on a database is part of the table.
type planned struct {
	name    string
	without map[string]string
	apart   bool // it has a target of its own, see needsMachine
}

// scenarios are the rows that a whole run must have on each database, in the table's order.
// docs/proof.md is held to it.
var scenarios = []planned{
	{name: "kill9-loop"},
	{name: "kill9-in-catch-up"},
	{name: "kill9-in-giant-tx"},
	{name: "kill9-units"},
	{name: "kill9-at-points"},
	{name: "power-loss-at-points"},
	{name: "term-flush"},
	{name: "idle-restart"},
	{name: "database-restart"},
	{name: "slot-gone", without: onlyPostgres("there are no slots; see binlog-purged")},
	{name: "binlog-purged", without: map[string]string{"postgres": "a slot keeps what is needed; see slot-gone"}},
	{name: "two-agents"},
	{name: "keepalive-trap"},
	{name: "failover-pg", without: onlyPostgres("see failover-mysql")},
	{name: "failover-mysql", without: map[string]string{"postgres": "see failover-pg"}},
	{name: "standby-decode", without: onlyPostgres("a replica's binlog is its own; see failover-mysql")},

	{name: "network-database"},
	{name: "network-receiver"},
	{name: "reconnect-mid-tx"},
	{name: "disk-below-reserve"},
	{name: "disk-full"},
	{name: "log-disk-full"},
	{name: "disk-read-only"},
	{name: "giant-tx"},
	{name: "interleave"},
	{name: "savepoints"},
	{name: "ddl-under-load"},
	{name: "toast"},
	{name: "identity", without: onlyPostgres("rows have their key in any case")},
	{name: "role-settings"},
	{name: "clock"},
	{name: "poison"},
	{name: "config-edit-live"},
	{name: "slow-sink"},
	{name: "rolling-receiver"},
	{name: "cluster", apart: true},
}

// onlyPostgres says why a scenario is PostgreSQL's alone.
func onlyPostgres(why string) map[string]string {
	return map[string]string{"mysql": why, "mariadb": why}
}
