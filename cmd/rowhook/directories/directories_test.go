package directories

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
)

// TestDirectoryFindings: check says what keeps the agent's user from its directories, with owner
// and remedy.
func TestDirectoryFindings(t *testing.T) {
	t.Parallel()
	other := account{uid: uint32(os.Geteuid()) + 1, gids: []uint32{uint32(os.Getegid()) + 1}, name: "rowhook", why: "the user of rowhook.service"}
	me := userName(uint32(os.Geteuid()))
	for name, tt := range map[string]struct {
		prepare func(dir string) error
		account account
		unit    agentUnit
		want    []string // severity, code and text; remedy. DIR is the directory
	}{
		"nothing there": {account: currentAccount()},
		"started once by somebody else": {
			prepare: func(dir string) error { return os.MkdirAll(dir+"/state/spool", 0o700) }, account: other,
			want: []string{
				"error state_directory the state directory DIR/state belongs to ME, mode 0700, and rowhook (the user of rowhook.service) may not write there; chown -R rowhook: DIR/state",
				"error delivery_log the delivery log's directory DIR/log does not exist, and rowhook (the user of rowhook.service) may not make it: DIR belongs to ME, mode 0755; install -d -m 0750 -o rowhook DIR/log",
			},
		},
		"one file of somebody else": {
			prepare: func(dir string) error {
				for _, d := range []string{"state", "state/spool", "log"} {
					if err := os.Mkdir(dir+"/"+d, 0o700); err != nil {
						return err
					}
					if err := os.Chmod(dir+"/"+d, 0o777); err != nil { // as if it were the other's own
						return err
					}
				}
				return os.WriteFile(dir+"/log/deliveries.jsonl", nil, 0o600)
			}, account: other,
			want: []string{
				"error state_directory the state directory DIR/state belongs to ME, mode 0777: it holds row data, and only its owner can keep it to itself; chown -R rowhook: DIR/state",
				"error delivery_log the delivery log DIR/log/deliveries.jsonl belongs to ME, mode 0600, and rowhook (the user of rowhook.service) may not write it; chown rowhook: DIR/log/deliveries.jsonl",
			},
		},
		"a file in its place": {
			prepare: func(dir string) error { return os.WriteFile(dir+"/state", nil, 0o600) }, account: currentAccount(),
			want: []string{"error state_directory the state directory DIR/state is a file; name a directory"},
		},
		"a unit that makes them": {account: other, unit: agentUnit{made: []string{"DIR"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, d := range []string{dir, filepath.Dir(dir)} {
				if err := os.Chmod(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if tt.prepare != nil {
				if err := tt.prepare(dir); err != nil {
					t.Fatal(err)
				}
			}
			c, err := config.Parse(filepath.Join(dir, "config.yaml"), []byte(mappedConfig), noEnv, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range tt.unit.made {
				tt.unit.made[i] = strings.ReplaceAll(tt.unit.made[i], "DIR", dir)
			}
			var got []string
			for _, f := range directoryFindings(c, tt.account, tt.unit) {
				line := fmt.Sprintf("%s %s %s; %s", f.Severity, f.Code, f.Text, f.Remedy)
				got = append(got, strings.ReplaceAll(strings.ReplaceAll(line, dir, "DIR"), "belongs to "+me, "belongs to ME"))
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestUnreadableConfig: files that root wrote for itself are of no use to the agent's user.
func TestUnreadableConfig(t *testing.T) {
	t.Parallel()
	c, path := load(t, mappedConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none}\n")
	other := account{uid: uint32(os.Geteuid()) + 1, name: "rowhook", why: "the user of rowhook.service"}
	found := unreadable(c, other)
	if len(found) != 1 || !strings.Contains(found[0].Text, path+" belongs to ") || !strings.Contains(found[0].Remedy, "chown rowhook "+path) {
		t.Errorf("findings %+v", found)
	}
	if found := unreadable(c, currentAccount()); len(found) > 0 {
		t.Errorf("findings %+v", found)
	}
}

// TestFindUnit reads what the unit in docs says.
func TestFindUnit(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	if got := findUnit([]string{empty}); got.path != "" {
		t.Errorf("found %+v", got)
	}
	unit := findUnit([]string{empty, filepath.Join("..", "..", "..", "docs")})
	if unit.user != "rowhook" || !unit.makes("/var/lib/rowhook") || !unit.makes("/var/log/rowhook") || unit.makes("/var/lib/rowhooks") {
		t.Errorf("unit %+v", unit)
	}
}

// TestForeignDirectoryStops: who may not write the state or the log ends with the exit code of a
// wrong config, after which systemd does not start it again and again.
func TestForeignDirectoryStops(t *testing.T) {
	t.Parallel()
	c, _ := load(t, mappedConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none}\n")
	for _, path := range []string{c.State + "/spool/LOCK", c.Log.Deliveries} {
		var own interface{ ExitCode() int }
		err := WithRemedy(c, fmt.Errorf("open: %w", &os.PathError{Op: "open", Path: path, Err: os.ErrPermission}))
		if !errors.As(err, &own) || own.ExitCode() != exitConfig || !strings.Contains(capture.Remedy(err), "chown -R ") || !strings.Contains(capture.Remedy(err), filepath.Dir(path)[:len(filepath.Dir(c.State))]) {
			t.Errorf("%s: %v, remedy %s", path, err, capture.Remedy(err))
		}
	}
}

// TestForeignDirectoryIsNamed: the remedy is about what could not be made or written, also where it
// is a directory above.
func TestForeignDirectoryIsNamed(t *testing.T) {
	t.Parallel()
	c, _ := load(t, mappedConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none}\n")
	c.State, c.Log.Deliveries = "/var/lib/library/rowhook", "/var/log/library/deliveries.jsonl"
	for at, dir := range map[string]string{
		"/var/lib/library":                       "/var/lib/library/rowhook",
		"/var/lib/library/rowhook":               "/var/lib/library/rowhook",
		"/var/lib/library/rowhook/spool/LOCK":    "/var/lib/library/rowhook",
		"/var":                                   "/var/lib/library/rowhook", // the state is made first
		"/var/log/library":                       "/var/log/library",
		"/var/log/library/deliveries.jsonl":      "/var/log/library",
		"/var/log/library/deliveries-1.jsonl.gz": "/var/log/library",
	} {
		got := capture.Remedy(WithRemedy(c, &os.PathError{Op: "mkdir", Path: at, Err: os.ErrPermission}))
		if !strings.Contains(got, " "+dir+" && ") || !strings.HasSuffix(strings.Split(got, "\n")[0], ": "+dir) {
			t.Errorf("%s: the remedy is about another directory than %s: %s", at, dir, got)
		}
	}
}

const mappedConfig = `source: {type: postgres, url: "postgres://rowhook@127.0.0.1/library"}
mapping:
  circulation.loans: {events: {loan.returned: {op: update, set: returned_at}}}
`

func noEnv(string) (string, bool) { return "", false }

// load puts a config into a file that only its owner may read, and loads it.
func load(t *testing.T, text string) (*config.Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, noEnv, "")
	if err != nil {
		t.Fatal(err)
	}
	return c, path
}
