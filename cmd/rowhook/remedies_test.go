package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// quotedCommand is a command as texts for people name one.
var quotedCommand = regexp.MustCompile("`(rowhook [^`…]*)`")

// TestRemediesCanBeRun takes every command that an error, a remedy or a page names in backquotes,
// and has it understood: each is a command line that works when pasted, but for what it leaves to
// fill in.
func TestRemediesCanBeRun(t *testing.T) {
	t.Parallel()
	commands := map[string]string{} // with a place that names it
	for _, path := range append(pages(t), "../../docker/prometheus-alerts.yaml", exampleConfig, libraryConfig) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range quotedCommand.FindAllSubmatch(text, -1) {
			commands[string(found[1])] = path
		}
	}
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			for _, found := range quotedCommand.FindAllStringSubmatch(text, -1) {
				commands[found[1]] = path
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(commands) < 25 {
		t.Errorf("only %d commands were found", len(commands))
	}
	fill := strings.NewReplacer("%s", "x", "%d", "1", "[", "", "]", "", "{{ $labels.profile }}", "x", `\|park\|drop`, "", "|park|drop", "")
	for command, place := range commands {
		root := newRootCommand(&console{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, env: func(string) (string, bool) { return "", false }})
		command, _, _ := strings.Cut(command, " | ")
		cmd, rest, err := root.Find(strings.Fields(fill.Replace(command))[1:])
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil && cmd.HasParent() && !strings.HasSuffix(command, " --help") {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: `%s`: %v", place, command, err)
		}
	}
}

// TestRemediesNameTheConfig: a remedy that is printed works when it is pasted, also where -c named
// the config.
func TestRemediesNameTheConfig(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                "rowhook queue retry-now --profile x; `rowhook failed list`, rowhook status. Not rowhook's, nor rowhook listens.",
		"config.yaml":     "rowhook queue retry-now --profile x; `rowhook failed list`, rowhook status. Not rowhook's, nor rowhook listens.",
		"/srv/a b/c.yaml": "rowhook queue retry-now -c '/srv/a b/c.yaml' --profile x; `rowhook failed list -c '/srv/a b/c.yaml'`, rowhook status -c '/srv/a b/c.yaml'. Not rowhook's, nor rowhook listens.",
		"/srv/c.yaml":     "rowhook queue retry-now -c /srv/c.yaml --profile x; `rowhook failed list -c /srv/c.yaml`, rowhook status -c /srv/c.yaml. Not rowhook's, nor rowhook listens.",
	} {
		var out bytes.Buffer
		c := &console{env: func(string) (string, bool) { return "", false }}
		newRootCommand(c)
		c.configPath = given
		c.findConfig()
		text := "rowhook queue retry-now --profile x; `rowhook failed list`, rowhook status. Not rowhook's, nor rowhook listens."
		if n, err := c.runnable(&out).Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
		if out.String() != want {
			t.Errorf("-c %q:\ngot  %s\nwant %s", given, &out, want)
		}
	}
}

// TestFindConfig: -c comes first, then the environment's word.
func TestFindConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ given, env, want string }{
		{"", "", "config.yaml"}, // neither it nor the machine's is there
		{"", "/srv/rowhook.yaml", "/srv/rowhook.yaml"},
		{"other.yaml", "/srv/rowhook.yaml", "other.yaml"},
	} {
		c := &console{configPath: tt.given, env: func(name string) (string, bool) { return tt.env, name == "ROWHOOK_CONFIG" }}
		c.findConfig()
		if c.configPath != tt.want {
			t.Errorf("%+v: %s", tt, c.configPath)
		}
	}
}
