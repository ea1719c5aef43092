package console

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rowhook/delivery"
)

// inTemplates finds the texts that templates translate.
var inTemplates = regexp.MustCompile(`\(?\bt ("(?:[^"\\]|\\.)*")`)

// textsOf lists every text that the console translates, in templates and in code.
func textsOf(t *testing.T) []string {
	t.Helper()
	texts := map[string]bool{}
	err := fs.WalkDir(pageFiles, "templates", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := pageFiles.ReadFile(path)
		for _, m := range inTemplates.FindAllStringSubmatch(string(raw), -1) {
			text, err := strconv.Unquote(m[1])
			if err != nil {
				t.Errorf("%s: %s: %v", path, m[1], err)
			}
			texts[text] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "t" && sel.Sel.Name != "say" {
				return true
			}
			if literal, ok := call.Args[0].(*ast.BasicLit); ok && !(sel.Sel.Name == "say" && len(literal.Value) < 7 && !strings.Contains(literal.Value, "%")) {
				text, _ := strconv.Unquote(literal.Value)
				texts[text] = true
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(texts))
}

// codesOf lists the codes that have words.
func codesOf() []string {
	codes := []string{
		"active", "waiting", "pending", "inactive", "streaming", "connecting", "paused", "standby", "stopped", "waiting for adoption",
		"in_flight", "retrying", "blocked", "held", "record", "type", "transaction", "batch", "insert", "update", "delete", "truncate", "read", "touch", "running", "failed", "done", "cancelled",
		"signal", "by_start", "by_signal", "by_file", "by_command", "error", "warning", "info",
	}
	for _, o := range delivery.Outcomes() {
		codes = append(codes, string(o))
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

var verbs = regexp.MustCompile(`%[-+ 0]*[0-9.]*[a-zA-Z%]`)

// TestWords holds that each text and code has its Japanese, that no other has, and that arguments
// are where they should be.
func TestWords(t *testing.T) {
	t.Parallel()
	raw, err := pageFiles.ReadFile("words/ja.json")
	if err != nil {
		t.Fatal(err)
	}
	var ja map[string]string
	if err := json.Unmarshal(raw, &ja); err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, text := range textsOf(t) {
		wanted[text] = true
	}
	for _, code := range codesOf() {
		wanted["code:"+code] = true
	}
	for text := range wanted {
		own, ok := ja[text]
		if !ok || own == "" {
			t.Errorf("no Japanese for %q", text)
			continue
		}
		if !strings.HasPrefix(text, "code:") && !slices.Equal(verbs.FindAllString(text, -1), verbs.FindAllString(own, -1)) {
			t.Errorf("%q has other arguments than %q", own, text)
		}
	}
	for text := range ja {
		if !wanted[text] && !strings.HasPrefix(text, "code:") {
			t.Errorf("Japanese for %q, which nobody says", text)
		}
	}
	if len(wanted) < 150 {
		t.Errorf("found %d texts only", len(wanted))
	}
}
