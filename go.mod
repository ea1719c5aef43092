module rowhook

go 1.26.8

require (
	code.dny.dev/ssrf v0.3.0 // the ranges that the dial guard refuses, kept by somebody
	github.com/cenkalti/backoff/v4 v4.3.0 // the pace of reconnects to the database
	github.com/chromedp/cdproto v0.160.1 // tests: the commands of a browser
	github.com/chromedp/chromedp v0.23.1 // tests: the console in a real browser
	github.com/cloudevents/sdk-go/v2 v2.16.2 // tests: the judge of our CloudEvents
	github.com/cockroachdb/pebble/v2 v2.1.7 // the spool's store
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6 // tests: the login of a mail server
	github.com/emersion/go-smtp v0.25.1 // tests: a mail server
	github.com/expr-lang/expr v1.17.8 // the expressions of conditions and fields
	github.com/fsnotify/fsnotify v1.10.1 // the config's changes are seen as they come
	github.com/go-mysql-org/go-mysql v1.14.0 // the binlog's protocol and events
	github.com/go-sql-driver/mysql v1.10.1 // catalog queries to MySQL and MariaDB
	github.com/jackc/pglogrepl v0.0.0-20250509230407-a9884f6bd75a // the messages of PostgreSQL's replication protocol
	github.com/jackc/pgx/v5 v5.13.0 // the connection to PostgreSQL
	github.com/klauspost/compress v1.20.4 // zstd, in which MySQL compresses transactions; S2, in which the spool keeps events
	github.com/nats-io/nats.go v1.55.0 // a cluster's stream
	github.com/prometheus/client_golang v1.25.0 // /metrics
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // tests: the judge of the schemas that we print
	github.com/spf13/cobra v1.10.2 // commands, flags, completion
	github.com/standard-webhooks/standard-webhooks/libraries v0.0.1 // tests: the judge of our signatures
	github.com/wneessen/go-mail v0.8.1 // mail to contacts
	go.uber.org/goleak v1.3.0 // tests: no goroutine is left behind
	golang.org/x/oauth2 v0.38.0 // tokens by client credentials
	golang.org/x/sys v0.48.0 // who may write to a directory
	golang.org/x/term v0.46.0 // questions on a terminal, and passwords that are not shown
	golang.org/x/text v0.44.0 // the charsets of MySQL's columns; Unicode decomposition, for ordering keys
	golang.org/x/time v0.16.0 // the bounds of rates
	gopkg.in/yaml.v3 v3.0.1 // the config, with lines and columns for its errors
	pgregory.net/rapid v1.3.0 // tests: properties over generated values
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/DataDog/zstd v1.5.7 // indirect
	github.com/RaduBerinde/axisds v0.1.0 // indirect
	github.com/RaduBerinde/btreemap v0.0.0-20250419174037-3d62b7205d54 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/cockroachdb/crlib v0.0.0-20241112164430-1264a2edc35b // indirect
	github.com/cockroachdb/errors v1.11.3 // indirect
	github.com/cockroachdb/logtags v0.0.0-20230118201751-21c54148d20b // indirect
	github.com/cockroachdb/redact v1.1.5 // indirect
	github.com/cockroachdb/swiss v0.0.0-20260820225851-333444432258 // indirect
	github.com/cockroachdb/tokenbucket v0.0.0-20230807174530-cc333fc44b06 // indirect
	github.com/getsentry/sentry-go v0.27.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/goccy/go-json v0.10.5 // indirect
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/golang/snappy v0.0.5-0.20231225225746-43d5d4cd4e0e // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/jackc/pgio v1.0.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/json-iterator/go v1.1.12 // indirect
	github.com/kr/pretty v0.3.1 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/minio/minlz v1.0.1-0.20250507153514-87eb42fe8882 // indirect
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd // indirect
	github.com/modern-go/reflect2 v1.0.2 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/pingcap/errors v0.11.5-0.20250523034308-74f78ae071ee // indirect
	github.com/pingcap/log v1.1.1-0.20241212030209-7e3ff8601a2a // indirect
	github.com/pingcap/tidb/pkg/parser v0.0.0-20260219190905-9b9281fa8d6d // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/rogpeppe/go-internal v1.12.0 // indirect
	github.com/shopspring/decimal v1.4.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.27.1 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/exp v0.0.0-20230626212559-97b1e661b5df // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)
