package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// BenchmarkCheck is the whole command on a server with many tables, each with an entry of its own in
// the mapping. cpu-s is this process's own part of it.
func BenchmarkCheck(b *testing.B) {
	const tables = 10_000
	create := func(engine string) (statements []string) {
		for from := 0; from < tables; from += 500 { // a transaction has locks for so many
			for i := range 500 {
				statements = append(statements, fmt.Sprintf("create table many.t%d (id int primary key, item bigint, note varchar(200) not null)%s", from+i, engine))
			}
		}
		return statements
	}
	for _, database := range []string{"postgres", "mysql", "mariadb"} {
		b.Run(database, func(b *testing.B) {
			source := ""
			if database == "postgres" {
				pg := capturetest.StartPostgres(b, capturetest.Options{})
				pg.Run(b, "create database library")
				sql := append([]string{"create schema many"}, create("")...)
				capturetest.Must(b, pg.Exec(b.Context(), "library", sql...))
				source = fmt.Sprintf("{type: postgres, url: %q}", fmt.Sprintf("postgres://postgres@127.0.0.1:%d/library", pg.Port))
			} else {
				server := mysqlFlavours[database](b, capturetest.MySQLOptions{})
				server.Run(b, append([]string{"create database many"}, create(" engine = MyISAM")...)...)
				source = fmt.Sprintf("{type: mysql, url: %q}", server.TCP("many", capturetest.MySQLRoot, ""))
			}
			var config strings.Builder
			fmt.Fprintf(&config, "source: %s\nmapping:\n", source)
			for i := range tables {
				fmt.Fprintf(&config, "  many.t%d: {events: {t%d.noted: {op: update, where: {note: urgent}}}}\n", i, i)
			}
			path := filepath.Join(b.TempDir(), "config.yaml")
			capturetest.Must(b, os.WriteFile(path, []byte(config.String()+"profiles: {}\n"), 0o600))
			before := processorTime(b)
			for b.Loop() {
				if got := rowhook(b, "check", "-c", path); got.code != exitFindings || strings.Contains(got.out, "deadline") {
					b.Fatalf("exit code %d\n%.2000s%.2000s", got.code, got.out, got.err)
				}
			}
			b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s")
		})
	}
}

// processorTime is what this process has used, whatever else the machine does.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
