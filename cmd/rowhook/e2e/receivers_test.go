package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// sample is one of the receivers that the docs show, as a process.
type sample struct {
	tb      testing.TB
	name    string
	address string
	inbox   string
	secret  []byte
	command []string
	process *agent
}

// shownReceivers are the commands that run the receivers of docs/receivers, by their files. What has to be
// compiled goes to a directory.
func shownReceivers(t *testing.T, dir string) map[string][]string {
	t.Helper()
	at := func(name string) string {
		path, err := filepath.Abs(filepath.Join("../../../docs/receivers", name))
		capturetest.Must(t, err)
		return path
	}
	mustRun(t, exec.Command("go", "build", "-o", dir+"/go", at("receiver.go")))
	mustRun(t, exec.Command("mcs", "-out:"+dir+"/Receiver.exe", at("Receiver.cs")))
	mustRun(t, exec.Command("javac", "-d", dir, at("Receiver.java")))
	return map[string][]string{
		"receiver.py": {"python3", at("receiver.py")}, "receiver.js": {"node", at("receiver.js")}, "receiver.rb": {"ruby", at("receiver.rb")},
		"receiver.php": {"php", "-S", "ADDRESS", at("receiver.php")}, "receiver.go": {dir + "/go"},
		"Receiver.java": {"java", "-XX:TieredStopAtLevel=1", "-Xmx64m", "-cp", dir, "Receiver"}, "Receiver.cs": {"mono", dir + "/Receiver.exe"},
	}
}

// start starts the receiver and waits until it answers.
func (s *sample) start() {
	s.tb.Helper()
	args := append([]string{}, s.command...)
	for i := range args {
		args[i] = strings.Replace(args[i], "ADDRESS", s.address, 1)
	}
	_, port, _ := net.SplitHostPort(s.address)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PORT="+port, "INBOX="+s.inbox, "RECEIVER_SECRET=whsec_"+base64.StdEncoding.EncodeToString(s.secret))
	s.process = launch(s.tb, cmd)
	eventually(s.tb, patience, s.name+" answers", func() bool {
		if !s.process.running() {
			s.tb.Fatalf("%s ends with %d:\n%s", s.name, s.process.code, s.process.stderr.tail())
		}
		resp, err := http.Post("http://"+s.address+"/", "application/json", strings.NewReader("{}"))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized // nothing is signed
	})
}

// lines are what the receiver has taken: bodies by their ids.
func (s *sample) lines() (bodies map[string]string, n int) {
	s.tb.Helper()
	raw, err := os.ReadFile(s.inbox)
	if err != nil && !os.IsNotExist(err) {
		s.tb.Fatal(err)
	}
	bodies = map[string]string{}
	for line := range strings.Lines(string(raw)) {
		n++
		id, body, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		bodies[id] = body
	}
	return bodies, n
}

// sign is a signature as Standard Webhooks has it.
func sign(secret []byte, id string, at time.Time, body string) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// post sends a request of ours and returns its status.
func (s *sample) post(id string, at time.Time, signatures, body string) int {
	s.tb.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.address+"/", bytes.NewReader([]byte(body)))
	capturetest.Must(s.tb, err)
	req.Header = http.Header{"Content-Type": {"application/json"}, "Webhook-Id": {id}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signatures}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.tb.Errorf("%s: %v", s.name, err)
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// The receivers that the docs show take what the agent sends, with the two signatures of a secret that
// is being rotated, each id once, also after they were killed. What is not signed, or not lately, is
// refused.
func TestReceivers(t *testing.T) {
	t.Parallel()
	dir := newTempDir(t)
	w := newWorld(t, capturetest.Options{})
	var all []*sample
	for name, command := range shownReceivers(t, dir) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		capturetest.Must(t, err)
		s := &sample{tb: t, name: name, address: listener.Addr().String(), inbox: filepath.Join(dir, name+".inbox"),
			secret: []byte("the secret of " + name), command: command}
		capturetest.Must(t, listener.Close())
		s.start()
		all = append(all, s)
		w.conf.profiles += fmt.Sprintf("  %s:\n    url: http://%s/\n    allow_networks: [loopback]\n    retry: {initial: 50ms, max: 400ms}\n    secrets:\n"+
			"      - {secret: whsec_%s, not_after: 2999-01-01T00:00:00Z}\n      - {secret: whsec_%s}\n", strings.ToLower(strings.ReplaceAll(name, ".", "-")), s.address,
			base64.StdEncoding.EncodeToString([]byte("the secret of yesterday")), base64.StdEncoding.EncodeToString(s.secret))
	}
	shown, err := filepath.Glob("../../../docs/receivers/*")
	capturetest.Must(t, err)
	if len(shown) != len(all) {
		t.Errorf("%d receivers of %q are tried", len(all), shown)
	}
	w.begin()
	const events = 50
	w.exec(fmt.Sprintf("insert into proof.rows (id, seq, note) select n, 1, 'é\n' || n from generate_series(1, %d) n", events))
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			s.tb = t
			eventually(t, patience, "all events are taken", func() bool { bodies, _ := s.lines(); return len(bodies) == events })
			bodies, n := s.lines()
			var id, body string
			for id, body = range bodies {
				var event struct{ ID string }
				if err := json.Unmarshal([]byte(body), &event); err != nil || event.ID != id {
					t.Fatalf("%s is %s: %v", id, body, err)
				}
			}
			now := time.Now()
			right := sign(s.secret, id, now, body)
			tests := []struct {
				name, id   string
				at         time.Time
				signatures string
				status     int // 0 for one of success
			}{
				{"an id again", id, now, right, 0},
				{"a body that was changed", id, now, sign(s.secret, id, now, body+" "), 401},
				{"another secret", "new", now, sign([]byte("another"), "new", now, body), 401},
				{"another id", "new", now, right, 401},
				{"no signature", "new", now, "", 401},
				{"no base64", "new", now, "v1,%%% v1 v1,", 401},
				{"cut short", "new", now, sign(s.secret, "new", now, body)[:20], 401},
				{"another version", "new", now, "v2" + strings.TrimPrefix(sign(s.secret, "new", now, body), "v1"), 401},
				{"too old", "new", now.Add(-6 * time.Minute), sign(s.secret, "new", now.Add(-6*time.Minute), body), 401},
				{"from the future", "new", now.Add(6 * time.Minute), sign(s.secret, "new", now.Add(6*time.Minute), body), 401},
				{"an old time under a new signature", "new", now.Add(-6 * time.Minute), sign(s.secret, "new", now, body), 401},
				{"without an id", "", now, sign(s.secret, "", now, body), 401},
			}
			for _, test := range tests {
				if status := s.post(test.id, test.at, test.signatures, body); status != test.status && (test.status != 0 || status/100 != 2) {
					t.Errorf("%s is answered with %d", test.name, status)
				}
			}
			if _, after := s.lines(); after != n {
				t.Errorf("of these, %d were taken", after-n)
			}
			// One of several signatures, from several sides at once.
			several := "v1,%%% " + sign([]byte("another"), "several", now, body) + " " + sign(s.secret, "several", now, body)
			var posts sync.WaitGroup
			for range 8 {
				posts.Go(func() {
					if status := s.post("several", now, several, body); status/100 != 2 {
						t.Errorf("several signatures are answered with %d", status)
					}
				})
			}
			posts.Wait()
			// Killed in the middle of a line.
			s.process.kill()
			file, err := os.OpenFile(s.inbox, os.O_WRONLY|os.O_APPEND, 0)
			capturetest.Must(t, err)
			_, err = file.WriteString("torn {")
			capturetest.Must(t, err)
			capturetest.Must(t, file.Close())
			s.start()
			for _, id := range []string{id, "several", "torn", "torn"} {
				if status := s.post(id, now, sign(s.secret, id, now, body), body); status/100 != 2 {
					t.Errorf("%s is answered with %d after a restart", id, status)
				}
			}
			if bodies, after := s.lines(); after != n+2 || bodies["several"] != body || bodies["torn"] != body {
				t.Errorf("%d lines instead of %d", after, n+2)
			}
			s.process.kill()
		})
	}
}
