package capture

import "time"

// SourceConfig is the connection part of the config's `source` section.
type SourceConfig struct {
	Type         string        `yaml:"type" enum:"postgres" later-enum:"mysql" doc:"postgres"`
	URL          string        `yaml:"url" doc:"postgres://user@host:port/database; several hosts and Unix sockets allowed"`
	Password     string        `yaml:"password" doc:"the database password, if not in the URL"`
	PasswordFile string        `yaml:"password_file" path:"file" doc:"file that holds the database password"`
	Name         string        `yaml:"name" doc:"the source's name in payloads; default: the database's name"`
	Slot         string        `yaml:"slot" doc:"replication slot"`
	Publication  string        `yaml:"publication" doc:"publication"`
	Heartbeat    time.Duration `yaml:"heartbeat" doc:"interval of a logical message as a liveness probe; 0 is off"`
	Servers      []string      `yaml:"servers,oneormany" doc:"system identifiers or hosts that are this source too (failover)"`

	_ struct{} `later:"environment server_id"`
}
