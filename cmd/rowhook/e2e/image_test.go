package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gopkg.in/yaml.v3"

	"rowhook/capture/capturetest"
)

// image is the container image's file system as the Dockerfile lays it out, in a directory: no
// container engine is needed to see whether the agent starts in it.
type image struct {
	tb      testing.TB
	root    string
	id      uint32
	command []string // ENTRYPOINT and CMD
	health  []string
}

var (
	copied      = regexp.MustCompile(`(?m)^COPY --from=build (?:--chown=(\d+):\d+ )?(\S+) (\S+)$`)
	imageUser   = regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`)
	imageWords  = regexp.MustCompile(`(?m)^(ENTRYPOINT|CMD|HEALTHCHECK [^\[]*CMD) (\[.*\])$`)
	buildModes  = regexp.MustCompile(`chmod (\d+) (/\w+)`)
	readmeBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
)

// newImage lays the image out, with a config directory that is mounted for reading.
func newImage(t *testing.T, config string) *image {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may lay out an image and change into it")
	}
	raw, err := os.ReadFile("../../../docker/Dockerfile")
	capturetest.Must(t, err)
	_, final, _ := strings.Cut(string(raw), "FROM scratch\n")
	modes := map[string]string{}
	for _, m := range buildModes.FindAllStringSubmatch(string(raw), -1) {
		modes[m[2]] = m[1]
	}
	m := &image{tb: t, root: newTempDir(t), id: 65532}
	if user := imageUser.FindStringSubmatch(final); len(user) == 0 || user[1] != "65532" {
		t.Fatalf("the image runs as %q", user)
	}
	for _, c := range copied.FindAllStringSubmatch(final, -1) {
		owner, from, to := c[1], c[2], m.root+c[3]
		capturetest.Must(t, os.MkdirAll(filepath.Dir(strings.TrimSuffix(to, "/")), 0o755))
		switch {
		case from == "/rowhook":
			program, err := os.ReadFile(binary)
			capturetest.Must(t, err)
			capturetest.Must(t, os.WriteFile(to, program, 0o755))
		case owner != "":
			capturetest.Must(t, os.Mkdir(to, 0o755))
			capturetest.Must(t, exec.Command("chmod", modes[from], to).Run())
			capturetest.Must(t, os.Chown(to, int(m.id), int(m.id)))
		}
	}
	for _, words := range imageWords.FindAllStringSubmatch(final, -1) {
		var list []string
		capturetest.Must(t, yaml.Unmarshal([]byte(words[2]), &list))
		if strings.HasPrefix(words[1], "HEALTHCHECK") {
			m.health = list
		} else {
			m.command = append(m.command, list...)
		}
	}
	capturetest.Must(t, os.Chmod(m.root, 0o755))
	m.file("etc/rowhook/config.yaml", config)
	m.file("etc/rowhook/db", "secret\n")
	m.file("etc/rowhook/desk", "whsec_"+strings.Repeat("c2Vj", 8)+"\n")
	return m
}

func (m *image) file(name, text string) {
	m.tb.Helper()
	capturetest.Must(m.tb, os.MkdirAll(filepath.Dir(filepath.Join(m.root, name)), 0o755))
	capturetest.Must(m.tb, os.WriteFile(filepath.Join(m.root, name), []byte(text), 0o644))
}

// process is a command inside the image: changed root, user, no environment.
func (m *image) process(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0])
	cmd.Path, cmd.Args, cmd.Err = args[0], args, nil
	cmd.Dir, cmd.Env = "/", []string{"HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: m.root, Credential: &syscall.Credential{Uid: m.id, Gid: m.id, NoSetGroups: true}}
	return cmd
}

// The README's config starts in the image as it is built, also without the keys that it does not
// need; the image's own health check follows the agent.
func TestImage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../README.md")
	capturetest.Must(t, err)
	config := string(readmeBlock.FindSubmatch(page)[1])
	config = strings.Replace(config, "db.example.org/", "127.0.0.1:1/", 1) // nobody is there, nor looked up
	bare := regexp.MustCompile(`(?m)^state: .*\n|^log:\n(  .*\n)+`).ReplaceAllString(config, "")
	if bare == config || strings.Contains(bare, "/var/l") {
		t.Fatalf("the README's config without state and log:\n%s", bare)
	}
	for name, config := range map[string]string{"README": config, "without state and log": bare} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newImage(t, config)
			a := launch(t, m.process(m.command...))
			var health bytes.Buffer
			eventually(t, patience, "the image's health check is content", func() bool {
				if !a.running() {
					t.Fatalf("the agent ends with %d", a.code)
				}
				health.Reset()
				check := m.process(m.health...)
				check.Stdout, check.Stderr = &health, &health
				return check.Run() == nil
			})
			if health.String() != "ok\n" {
				t.Errorf("the health check says %q", &health)
			}
			a.term()
			check := m.process(m.health...)
			if err := check.Run(); check.ProcessState == nil || check.ProcessState.ExitCode() != 1 {
				t.Errorf("without an agent the health check ends with %v", err)
			}
		})
	}
}

// A volume that belongs to somebody else is said, with the exit code after which nobody starts the
// agent again.
func TestImageForeignVolume(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../README.md")
	capturetest.Must(t, err)
	m := newImage(t, string(readmeBlock.FindSubmatch(page)[1]))
	capturetest.Must(t, os.Chown(m.root+"/var/lib/rowhook", 0, 0))
	a := launch(t, m.process(m.command...))
	if code := a.wait(patience); code != 2 {
		t.Errorf("the agent ends with %d", code)
	}
	a.says("hint: give it to the user that rowhook runs as")
	a.says("or run it as #0, who owns /var/lib/rowhook")
}

// Kubernetes gives a volume to root, and the pod's group may write there. The agent makes state and
// log below it, for itself.
func TestImageKubernetesVolume(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../README.md")
	capturetest.Must(t, err)
	config := strings.Replace(string(readmeBlock.FindSubmatch(page)[1]), "db.example.org/", "127.0.0.1:1/", 1)
	config = strings.NewReplacer("state: /var/lib/rowhook\n", "state: /var/lib/rowhook/state\n", "/var/log/rowhook/", "/var/lib/rowhook/log/").Replace(config)
	m := newImage(t, config)
	volume := m.root + "/var/lib/rowhook"
	capturetest.Must(t, os.Chown(volume, 0, int(m.id)))
	capturetest.Must(t, os.Chmod(volume, 0o775|os.ModeSetgid))
	a := launch(t, m.process(m.command...))
	eventually(t, patience, "the image's health check is content", func() bool {
		if !a.running() {
			t.Fatalf("the agent ends with %d", a.code)
		}
		return m.process(m.health...).Run() == nil
	})
	for _, name := range []string{"state", "log"} {
		if info, err := os.Stat(filepath.Join(volume, name)); err != nil || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	a.term()
}
