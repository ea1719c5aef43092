package e2e_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// A receiver that is replaced in order while it is sent to, as on each of its deployments, costs
// nothing: by HTTP/2 it says with a GOAWAY what it no longer takes. One whose certificate has run
// out is tried again until it has a new one.
func TestReceiverReplaced(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testReceiverReplaced)
}

func testReceiverReplaced(t *testing.T, w *world) {
	s := w.scenario("rolling-receiver")
	ca := capturetest.NewCA(t)
	present := func(valid time.Duration) *tls.Config {
		pair, err := tls.LoadX509KeyPair(ca.Issue(t, valid, "127.0.0.1"))
		capturetest.Must(t, err)
		return &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	const good, expired = 3 * time.Hour, time.Minute // from an hour ago
	w.hook.leave(t)
	w.hook.tls = present(good)
	w.hook.up(t)
	secure := fmt.Sprintf("    http: {tls_config: {ca_file: %s}, http2: ", ca.File)
	w.conf.profile = secure + "true}\n"
	second := w.usualProfile("main")
	w.conf.profile = secure + "false}\n"
	w.conf.profiles = second + w.usualProfile("first")

	a := w.begin()
	l := w.load(4, 50, false)
	grow := func() {
		t.Helper()
		for _, profile := range []string{"main", "first"} {
			w.hook.wait(t, profile, w.hook.distinct(profile)+50, patience)
		}
	}
	grow()
	replaced, failed := count(4, 40), count(1, 5)
	for range replaced {
		w.hook.leave(t)
		w.hook.up(t)
		grow()
	}
	const fails = "retrying tls"
	for range failed {
		main, first := w.times("main", fails), w.times("first", fails)
		w.hook.leave(t)
		w.hook.tls = present(expired)
		w.hook.up(t)
		eventually(t, patience, "both profiles fail over the certificate", func() bool {
			return w.times("main", fails) > main && w.times("first", fails) > first
		})
		w.confirmed(5 * time.Second)
		w.hook.leave(t)
		w.hook.tls = present(good)
		w.hook.up(t)
		grow()
	}
	changes := w.ledger(l.stop(t))
	for _, profile := range []string{"main", "first"} {
		w.hook.wait(t, profile, len(changes), 2*patience)
		w.logCount(profile, len(changes))
	}
	a.term()
	for _, arrival := range slices.Concat(w.hook.all("main"), w.hook.all("first")) {
		if want := map[string]int{"main": 2, "first": 1}[arrival.profile]; arrival.http != want {
			t.Fatalf("%s was sent to by HTTP/%d, want %d", arrival.profile, arrival.http, want)
		}
	}
	w.verify(changes, judge{profile: "main"})
	w.verify(changes, judge{profile: "first", cutOff: true}) // HTTP/1.1 closes in silence
	s.did(replaced, "receiver replaced under load", "times the receiver was replaced under load")
	s.did(failed, "certificate expired", "certificates expired")
}
