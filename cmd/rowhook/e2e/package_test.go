package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"rowhook/capture/capturetest"
)

// packages builds the deb and the rpm of a version.
func packages(t *testing.T, dir, version string) (deb, rpm string) {
	t.Helper()
	nfpm := strings.TrimSpace(mustRun(t, exec.Command("make", "-s", "--no-print-directory", "-C", "../../..", "nfpm")))
	build := exec.Command("../../../docker/package/build", binary, version, dir)
	build.Env = append(os.Environ(), "NFPM="+nfpm)
	mustRun(t, build)
	one := func(pattern string) string {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("built %q, %v", found, err)
		}
		return found[0]
	}
	return one("*_" + version + "_*.deb"), one("*-" + version + "-*.rpm")
}

// mustRun runs a command that must succeed.
func mustRun(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// layer is this machine's system with a layer of memory above it: whatever is installed in it is
// gone with it. Its systemd is a script that notes what it is asked.
type layer struct {
	t    *testing.T
	dir  string
	hold *exec.Cmd
}

// fakeSystemctl notes its words. The agent runs if /active is there.
const fakeSystemctl = `#!/bin/sh
echo "systemctl $*" >>/calls
case "$1" in is-active) [ -e /active ] ;; esac
`

func newLayer(t *testing.T) *layer {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may install packages")
	}
	m := &layer{t: t, dir: newTempDir(t)}
	m.hold = exec.Command("unshare", "--mount", "sh", "-ec", `
		mount -t tmpfs none "$1"
		mkdir "$1/upper" "$1/work" "$1/root"
		mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
		mount --bind /dev "$1/root/dev"
		mount --bind /proc "$1/root/proc"
		mount -t tmpfs none "$1/root/tmp"
		mount -t tmpfs none "$1/root/run"
		mkdir -p "$1/root/run/systemd/system"
		echo ready
		exec cat >/dev/null`, "sh", m.dir)
	m.hold.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := m.hold.StdinPipe()
	capturetest.Must(t, err)
	stdout, err := m.hold.StdoutPipe()
	capturetest.Must(t, err)
	m.hold.Stderr = os.Stderr
	capturetest.Must(t, m.hold.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = m.hold.Wait()
	})
	if ready := make([]byte, 6); true {
		if _, err := stdout.Read(ready); err != nil {
			t.Fatal("no layer could be mounted above the system: ", err)
		}
	}
	m.run("rm -f /usr/bin/systemctl /bin/systemctl /usr/bin/deb-systemd-invoke")
	m.give(fakeSystemctl, "/usr/bin/systemctl")
	m.give(fakeSystemctl, "/usr/bin/deb-systemd-invoke")
	m.run(`userdel rowhook 2>/dev/null || true; rm -rf /etc/rowhook /var/lib/rowhook /var/log/rowhook /usr/bin/rowhook
		rm -f /etc/dpkg/dpkg.cfg.d/* # images leave pages out
		rm -f /var/lib/dpkg/info/*.triggers; : >/var/lib/dpkg/triggers/File # nothing else has to follow`)
	return m
}

// give puts a program into the machine.
func (m *layer) give(text, path string) {
	m.t.Helper()
	m.input(strings.NewReader(text), fmt.Sprintf("cat >%s && chmod 755 %[1]s", path))
}

// copy puts a file into the machine.
func (m *layer) copy(from, to string) {
	m.t.Helper()
	file, err := os.Open(from)
	capturetest.Must(m.t, err)
	defer file.Close()
	m.input(file, "cat >"+to)
}

// run runs a script in the machine.
func (m *layer) run(script string) string {
	m.t.Helper()
	return m.input(nil, script)
}

func (m *layer) input(stdin interface{ Read([]byte) (int, error) }, script string) string {
	m.t.Helper()
	cmd := exec.Command("nsenter", "--mount", fmt.Sprintf("--target=%d", m.hold.Process.Pid), "chroot", m.dir+"/root", "sh", "-ec", script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	if stdin != nil {
		cmd.Stdin = stdin
	}
	return mustRun(m.t, cmd)
}

// calls are what systemd was asked since the last time.
func (m *layer) calls() string {
	m.t.Helper()
	return m.run("cat /calls 2>/dev/null || true; rm -f /calls")
}

// owned checks owners and modes.
func (m *layer) owned(want ...string) {
	m.t.Helper()
	for _, line := range want {
		path := strings.Fields(line)[0]
		if got := strings.TrimSpace(m.run("stat -c '%n %U:%G %a' " + path)); got != line {
			m.t.Errorf("%s, want %s", got, line)
		}
	}
}

// says checks that a text has all parts.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

const (
	ownConfig    = "source: {} # of one's own\n"
	restarted    = "systemctl restart rowhook.service\n"
	tryRestarted = "systemctl try-restart rowhook.service\n"
)

// The packages hold what they promise. They are installed, upgraded, removed and purged on this
// machine's system: the user and its directories, the service left alone until somebody starts it,
// restarted if it ran, config and state kept, and what remains said.
func TestPackages(t *testing.T) {
	t.Parallel()
	m := newLayer(t)
	dir := newTempDir(t)
	deb1, rpm1 := packages(t, filepath.Join(dir, "1"), "0.1")
	deb2, rpm2 := packages(t, filepath.Join(dir, "2"), "0.2")
	lists := map[string]string{
		"deb": mustRun(t, exec.Command("dpkg-deb", "--contents", deb1)),
		"rpm": mustRun(t, exec.Command("rpm", "-qp", "--qf", `[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} x x x .%{FILENAMES}\n]`, rpm1)),
	}
	for format, list := range lists {
		for _, want := range []string{
			`-rwxr-xr-x root/root .* \./usr/bin/rowhook`, `-rw-r--r-- root/root .* \./usr/lib/systemd/system/rowhook.service`,
			`-rw-r----- root/rowhook .* \./etc/rowhook/config.yaml`, `drwxr-x--- root/rowhook .* \./etc/rowhook/?`,
			`drwx------ rowhook/rowhook .* \./var/lib/rowhook/?`, `drwxr-x--- rowhook/rowhook .* \./var/log/rowhook/?`,
			`-rw-r--r-- root/root .* \./usr/share/man/man1/rowhook.1.gz`, `-rw-r--r-- root/root .* \./usr/share/man/man1/rowhook-profile-test.1.gz`,
			`-rw-r--r-- .* \./usr/share/bash-completion/completions/rowhook`, `-rw-r--r-- .* \./usr/share/zsh/.*/_rowhook`,
			`-rw-r--r-- .* \./usr/share/fish/vendor_completions.d/rowhook.fish`, `-rw-r--r-- .* \./usr/share/doc/rowhook/docs/failures.md`,
			`l.* \./usr/share/doc/rowhook/examples/starter.yaml.*`,
		} {
			if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(list) {
				t.Errorf("the %s has no %s:\n%s", format, want, list)
			}
		}
	}
	if files := mustRun(t, exec.Command("dpkg-deb", "--info", deb1, "conffiles")); files != "/etc/rowhook/config.yaml\n" {
		t.Errorf("conffiles: %q", files)
	}
	if files := mustRun(t, exec.Command("rpm", "-qp", "--configfiles", rpm1)); files != "/etc/rowhook/config.yaml\n" {
		t.Errorf("the rpm's config files: %q", files)
	}
	for format, files := range map[string][2]string{"deb": {deb1, deb2}, "rpm": {rpm1, rpm2}} {
		m.copy(files[0], "/1."+format)
		m.copy(files[1], "/2."+format)
	}

	// Debian's: the first installation.
	says(t, m.run("dpkg -i /1.deb"), "rowhook is installed and not started", "rowhook init -o /etc/rowhook/config.yaml")
	m.installed()
	m.run("systemd-analyze verify --man=no /usr/lib/systemd/system/rowhook.service")
	// An upgrade, while the agent does not run and while it does.
	m.configured()
	if said := m.run("dpkg -i /2.deb </dev/null"); strings.Contains(said, "not started") || strings.Contains(m.calls(), "restart") {
		t.Errorf("an upgrade starts what did not run, or says that nothing starts:\n%s", said)
	}
	m.run("touch /active; dpkg -i /1.deb </dev/null")
	if calls := m.calls(); strings.Count(calls, restarted) != 1 || strings.Contains(calls, "stop") {
		t.Errorf("an upgrade of an agent that runs asks\n%s", calls)
	}
	m.kept()
	// Removed, installed again, purged. An account that is there is no obstacle.
	says(t, m.run("dpkg -r rowhook"), "/var/lib/rowhook", "pg_drop_replication_slot('rowhook')", "purge")
	says(t, m.calls(), "systemctl stop rowhook.service\n", "systemctl disable --quiet rowhook.service\n")
	m.kept()
	m.run("rm /active; dpkg -i /2.deb </dev/null")
	m.kept()
	says(t, m.run("dpkg -P rowhook"), "deleted", "pg_drop_replication_slot('rowhook')")
	m.run("! ls -d /etc/rowhook /var/lib/rowhook /var/log/rowhook /usr/bin/rowhook /usr/share/doc/rowhook 2>/dev/null")

	// The rpm's, with a database of packages of its own.
	m.run("userdel rowhook")
	m.calls()
	says(t, m.run("rpm -i --nodeps /1.rpm"), "rowhook is installed and not started", "rowhook init -o /etc/rowhook/config.yaml")
	m.installed()
	m.configured()
	m.run("rpm -U --nodeps /2.rpm")
	says(t, m.calls(), tryRestarted)
	m.kept()
	says(t, m.run("rpm -e rowhook"), "/var/lib/rowhook", "pg_drop_replication_slot('rowhook')", "config.yaml.rpmsave")
	says(t, m.calls(), "systemctl stop rowhook.service\n", "systemctl disable --quiet rowhook.service\n")
	m.run("mv /etc/rowhook/config.yaml.rpmsave /etc/rowhook/config.yaml")
	m.kept()
}

// installed checks the state after a first installation.
func (m *layer) installed() {
	m.t.Helper()
	m.owned("/etc/rowhook root:rowhook 750", "/etc/rowhook/config.yaml root:rowhook 640", "/var/lib/rowhook rowhook:rowhook 700",
		"/var/log/rowhook rowhook:rowhook 750", "/usr/bin/rowhook root:root 755")
	if user := m.run("getent passwd rowhook"); !strings.HasSuffix(user, ":/var/lib/rowhook:/usr/sbin/nologin\n") {
		m.t.Errorf("the user is %q", user)
	}
	if calls := m.calls(); calls != "systemctl daemon-reload\n" {
		m.t.Errorf("an installation asks\n%s", calls)
	}
	says(m.t, m.run("rowhook version; cat /usr/lib/systemd/system/rowhook.service; gzip -dc /usr/share/man/man1/rowhook.1.gz; bash -n /usr/share/bash-completion/completions/rowhook"),
		"test", "\nExecStart=/usr/bin/rowhook run ", ".SH NAME\n")
	says(m.t, m.run("rowhook check -c /etc/rowhook/config.yaml 2>&1 || true"), "the file is empty", "rowhook init")
	m.run("cat /usr/share/doc/rowhook/examples/* >/dev/null")
}

// configured writes a config and state.
func (m *layer) configured() {
	m.t.Helper()
	m.give(ownConfig, "/own")
	m.run("cat /own >/etc/rowhook/config.yaml; echo 1 >/var/lib/rowhook/position; echo 1 >/var/log/rowhook/deliveries.jsonl")
	m.calls()
}

// kept checks that config, state and log are as they were.
func (m *layer) kept() {
	m.t.Helper()
	if got := m.run("cat /etc/rowhook/config.yaml /var/lib/rowhook/position /var/log/rowhook/deliveries.jsonl"); got != ownConfig+"1\n1\n" {
		m.t.Errorf("config, state and log are now\n%s", got)
	}
	m.owned("/etc/rowhook/config.yaml root:rowhook 640", "/var/lib/rowhook rowhook:rowhook 700")
}

// The scripts of the packages are free of what a shell's judge finds, and the packaged unit of what
// systemd's finds.
func TestPackageScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("../../../docker/package/*/*")
	capturetest.Must(t, err)
	if len(scripts) < 7 {
		t.Fatalf("found only %q", scripts)
	}
	mustRun(t, exec.Command("shellcheck", append([]string{"-s", "sh"}, scripts...)...))
	mustRun(t, exec.Command("shellcheck", "../../../docker/package/build"))
	score := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "../../../docs/rowhook.service")
	var out bytes.Buffer
	score.Stdout, score.Stderr = &out, &out
	if err := score.Run(); err != nil || !strings.Contains(out.String(), "exposure level") {
		t.Errorf("systemd gives the unit more than 2.0: %v\n%s", err, &out)
	}
}
