package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"rowhook/capture/capturetest"
	"rowhook/cmd/rowhook/config"
)

// composeModule has the schema of compose files. It is fetched like a tool: nothing of it is built in.
const composeModule = "github.com/compose-spec/compose-go/v2@v2.9.0"

// documents are the YAML documents of a file.
func documents(t *testing.T, path string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../docker", path))
	must(t, err)
	var list []map[string]any
	for decoder := yaml.NewDecoder(bytes.NewReader(raw)); ; {
		var one map[string]any
		switch err := decoder.Decode(&one); {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, one)
	}
}

// at walks into a document: names of members and, in lists, the first element.
func at[T any](t *testing.T, in any, path ...string) T {
	t.Helper()
	for _, name := range path {
		if list, ok := in.([]any); ok && len(list) > 0 {
			in = list[0]
		}
		members, _ := in.(map[string]any)
		in = members[name]
	}
	found, ok := in.(T)
	if !ok {
		t.Fatalf("%s is %#v", strings.Join(path, "."), in)
	}
	return found
}

// shipped loads a config that a deployment brings, with the environment and the secret files that it
// brings too.
func shipped(t *testing.T, text string, variables map[string]string) *config.Config {
	t.Helper()
	secrets := func(path string) ([]byte, error) {
		if strings.HasSuffix(path, "-url") {
			return []byte("https://desk.example.org/webhooks\n"), nil
		}
		return []byte("whsec_c2VjcmV0c2VjcmV0c2VjcmV0\n"), nil
	}
	c, err := config.Parse("/etc/rowhook/config.yaml", []byte(text), env(variables), secrets)
	must(t, err)
	return c
}

// TestCompose: the compose files are what compose's own schema allows. The agent has its time to
// stop, and the files that are mounted are there.
func TestCompose(t *testing.T) {
	t.Parallel()
	download := exec.Command("go", "mod", "download", "-json", composeModule)
	out, err := download.Output()
	must(t, err)
	var module struct{ Dir string }
	must(t, json.Unmarshal(out, &module))
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(module.Dir, "schema", "compose-spec.json"))
	must(t, err)
	for _, path := range []string{"compose.yaml", "stack/compose.yaml"} {
		doc := documents(t, path)[0]
		text, err := json.Marshal(doc)
		must(t, err)
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		must(t, err)
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		services := at[map[string]any](t, doc, "services")
		stop, err := time.ParseDuration(at[string](t, services, "rowhook", "stop_grace_period"))
		if grace := shipped(t, smallConfig, nil).ShutdownGrace; err != nil || stop <= grace+10*time.Second {
			t.Errorf("%s stops the agent after %s (%v), and requests in flight may take %s alone", path, stop, err, grace)
		}
		for name := range services {
			volumes, _ := at[map[string]any](t, services, name)["volumes"].([]any)
			for _, volume := range volumes {
				from, _, _ := strings.Cut(volume.(string), ":")
				if !strings.HasPrefix(from, ".") {
					continue
				}
				if _, err := os.Stat(filepath.Join("../../docker", filepath.Dir(path), from)); err != nil {
					t.Errorf("%s: %s mounts %s: %v", path, name, from, err)
				}
			}
		}
	}
	raw, err := os.ReadFile("../../docker/stack/config.yaml")
	must(t, err)
	variables := map[string]string{}
	stack := documents(t, "stack/compose.yaml")[0]
	for name, value := range at[map[string]any](t, stack, "services", "rowhook", "environment") {
		variables[name] = value.(string)
	}
	c := shipped(t, string(raw), variables)
	if targets := at[[]any](t, documents(t, "prometheus.yaml")[0], "scrape_configs", "static_configs", "targets"); len(targets) != 1 ||
		!strings.HasSuffix(c.Admin.Listen, strings.TrimPrefix(targets[0].(string), "rowhook")) {
		t.Errorf("Prometheus scrapes %q, and the agent listens on %s", targets, c.Admin.Listen)
	}
	command := at[[]any](t, stack, "services", "listen", "command")
	if !strings.Contains(string(raw), "http://listen:8080/") || command[2] != "0.0.0.0:8080" || command[4] != variables["LISTEN_SECRET"] {
		t.Errorf("the receiver runs as %q", command)
	}
}

// TestStackTables: the first loan of the stack fits the tables of the library, and its mapping too.
func TestStackTables(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	loans, err := os.ReadFile("../../docker/stack/loans.sql")
	must(t, err)
	pg.Run(t, librarySQL(t, "postgres")...)
	pg.Run(t, string(loans), "create role rowhook login replication")
	raw, err := os.ReadFile("../../docker/stack/config.yaml")
	must(t, err)
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	text := strings.NewReplacer("@postgres/library", fmt.Sprintf("@127.0.0.1:%d/postgres", pg.Port), "/etc/rowhook/token", "./token", "/var/l", dir+"/l").Replace(string(raw))
	must(t, os.WriteFile(path, []byte(text), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "token"), []byte("for-this-machine-alone"), 0o600))
	var out, messages strings.Builder
	code := execute(t.Context(), []string{"setup", "--apply", "--as", pg.URL("postgres"), "-c", path}, &console{in: strings.NewReader(""), out: &out, err: &messages,
		env: env(map[string]string{"DATABASE_PASSWORD": "x", "LISTEN_SECRET": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"})})
	if code != exitDone {
		t.Errorf("setup ends with %d\n%s%s", code, &out, &messages)
	}
}

// TestKubernetes: one agent, as the image's user, on a volume of its own, asked on the port that its
// config has it listen on, with time to stop.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	byKind := map[string]map[string]any{}
	for _, doc := range append(documents(t, "kubernetes/rowhook.yaml"), documents(t, "kubernetes/servicemonitor.yaml")...) {
		byKind[doc["kind"].(string)] = doc
	}
	secret := at[map[string]any](t, byKind["Secret"], "stringData")
	set := at[map[string]any](t, byKind["StatefulSet"], "spec")
	pod := at[map[string]any](t, set, "template", "spec")
	container := at[[]any](t, pod, "containers")[0].(map[string]any)
	variables := map[string]string{}
	mounted := map[string]string{}
	for _, one := range at[[]any](t, container, "volumeMounts") {
		mounted[at[string](t, one, "mountPath")] = at[string](t, one, "name")
	}
	for _, one := range at[[]any](t, container, "env") {
		entry := one.(map[string]any)
		if value, ok := entry["value"].(string); ok {
			variables[entry["name"].(string)] = value
			continue
		}
		key := at[string](t, entry, "valueFrom", "secretKeyRef", "key")
		variables[entry["name"].(string)] = at[string](t, secret, key)
	}
	text := at[string](t, byKind["ConfigMap"], "data", "config.yaml")
	c := shipped(t, text, variables)
	for line := range strings.Lines(text) {
		if _, key, ok := strings.Cut(strings.TrimSpace(line), "file: /etc/rowhook-secrets/"); ok && secret[strings.TrimSuffix(key, ", role: viewer}")] == nil {
			t.Errorf("the secret has no %s", key)
		}
	}
	if mounted["/etc/rowhook"] != "config" || mounted["/etc/rowhook-secrets"] != "secrets" || mounted["/var/lib/rowhook"] != "state" ||
		c.State != "/var/lib/rowhook/state" || !strings.HasPrefix(c.Log.Deliveries, "/var/lib/rowhook/log/") {
		t.Errorf("mounted are %q, and the agent writes to %s and %s", mounted, c.State, c.Log.Deliveries)
	}
	if n := at[int](t, set, "replicas"); n != 1 {
		t.Errorf("%d replicas", n)
	}
	if grace := at[int](t, pod, "terminationGracePeriodSeconds"); time.Duration(grace)*time.Second <= c.ShutdownGrace+10*time.Second {
		t.Errorf("the pod has %d s to stop, and requests in flight may take %s alone", grace, c.ShutdownGrace)
	}
	if user := at[int](t, pod, "securityContext", "runAsUser"); user != 65532 || at[int](t, pod, "securityContext", "fsGroup") != user {
		t.Errorf("the pod's user is %d", user)
	}
	if !at[bool](t, container, "securityContext", "readOnlyRootFilesystem") || at[bool](t, container, "securityContext", "allowPrivilegeEscalation") || at[bool](t, pod, "automountServiceAccountToken") {
		t.Error("the pod may get rights that it does not need")
	}
	port := at[int](t, container, "ports", "containerPort")
	if at[int](t, byKind["Service"], "spec", "ports", "port") != port || c.Admin.Listen != "0.0.0.0:8642" || port != 8642 {
		t.Errorf("the port is %d, and the agent listens on %s", port, c.Admin.Listen)
	}
	for probe, path := range map[string]string{"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		if got := at[string](t, container, probe, "httpGet", "path"); got != path {
			t.Errorf("%s asks for %s", probe, got)
		}
	}
	label := "app.kubernetes.io/name"
	for _, labels := range []map[string]any{
		at[map[string]any](t, set, "selector", "matchLabels"), at[map[string]any](t, set, "template", "metadata", "labels"),
		at[map[string]any](t, byKind["Service"], "spec", "selector"), at[map[string]any](t, byKind["ServiceMonitor"], "spec", "selector", "matchLabels"),
	} {
		if labels[label] != "rowhook" {
			t.Errorf("a selector or its pods have %v", labels)
		}
	}
}
