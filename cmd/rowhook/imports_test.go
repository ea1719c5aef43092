package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rowhook/delivery/format"
)

// rule says who may import what, and why. Folders are given from the repository's
// root; paths and folders stand for everything below them too.
type rule struct {
	imports string
	but     string   // a folder below it that all may
	only    []string // folders that may
	except  bool     // only lists the folders that may not
	tests   bool     // tests may as well
	why     string
}

var rules = []rule{
	{imports: "rowhook/delivery", only: []string{"capture"}, except: true, why: "capture knows nothing of what becomes of a change"},
	{imports: "rowhook/delivery/engine", only: []string{"delivery/engine", "cmd"}, tests: true, why: "others know delivery's words only"},
	{imports: "rowhook/delivery/deliverylog", only: []string{"delivery/deliverylog", "cmd"}, tests: true, why: "the engine writes to a Recorder"},
	{imports: "rowhook/delivery/spool", only: []string{"delivery/spool", "cmd"}, tests: true, why: "the engine works on a Store"},
	{imports: "rowhook/delivery/webhook", only: []string{"delivery/webhook", "cmd"}, tests: true, why: "the engine hands requests to a Sender"},
	{imports: "rowhook/delivery/format", only: []string{"delivery/format", "cmd"}, tests: true, why: "the engine asks a Formatter for bodies"},
	{imports: "rowhook/mapping", only: []string{"capture", "delivery"}, except: true, why: "mapping stands between capture and delivery"},
	{imports: "rowhook/capture", only: []string{"delivery"}, except: true, why: "delivery knows nothing of where an event comes from"},
	{imports: "rowhook/cmd", but: "rowhook/cmd/rowhook/cluster/natstest", only: []string{"cmd/rowhook"}, why: "cmd wires the rooms, nobody builds on it"},
	{imports: "rowhook/delivery", only: []string{"cmd/rowhook/control"}, except: true, why: "the socket knows no operation"},
	{imports: "rowhook/delivery", only: []string{"cmd/rowhook/directories"}, except: true, why: "owners and modes, not what the files hold"},
	{imports: "rowhook/delivery/spool", only: []string{"cmd/rowhook/operation"}, except: true, why: "the words are data, for those too who have no state directory"},
	{imports: "rowhook/cmd/rowhook/config", only: []string{"cmd/rowhook/operation"}, except: true, why: "the words are data"},
	{imports: "rowhook/cmd/rowhook/operation", only: []string{"cmd/rowhook/config", "cmd/rowhook/contract", "cmd/rowhook/control", "cmd/rowhook/pipeline", "cmd/rowhook/try"}, except: true, why: "operations are for the agent and the commands"},
	{imports: "rowhook/delivery/spool", only: []string{"cmd/rowhook/environment"}, except: true, why: "the environment keeps nothing"},
	{imports: "rowhook/cmd/rowhook/operation", only: []string{"cmd/rowhook/environment"}, except: true, why: "operations are for the agent and the commands"},
	{imports: "rowhook/cmd/rowhook/agent", only: []string{"cmd/rowhook/backfill", "cmd/rowhook/config", "cmd/rowhook/control", "cmd/rowhook/directories", "cmd/rowhook/draft", "cmd/rowhook/environment", "cmd/rowhook/operation", "cmd/rowhook/pipeline", "cmd/rowhook/try"}, except: true, why: "commands start the agent and ask it"},
	{imports: "rowhook/cmd/rowhook/try", only: []string{"cmd/rowhook/agent"}, except: true, why: "a trial needs no agent"},
	{imports: "rowhook/capture/postgres", only: []string{"cmd/rowhook/agent"}, except: true, tests: true, why: "the main package chooses the source"},
	{imports: "rowhook/capture/mysql", only: []string{"cmd/rowhook/agent"}, except: true, tests: true, why: "the main package chooses the source"},
	{imports: "rowhook/cmd", but: "rowhook/cmd/rowhook/cluster/natstest", only: []string{"cmd/rowhook/e2e"}, except: true, why: "end-to-end tests know the binary only"},
	{imports: "rowhook/cmd/rowhook/config", only: []string{"cmd/rowhook/pipeline"}, except: true, tests: true, why: "the pipeline gets rules and a router"},
	{imports: "rowhook/cmd/rowhook/backfill", only: []string{"cmd/rowhook/pipeline"}, except: true, why: "who reads rows asks the pipeline for their place, not the other way round"},
	{imports: "rowhook/cmd/rowhook/environment", only: []string{"cmd/rowhook/pipeline"}, except: true, why: "the pipeline sends nothing"},
	{imports: "rowhook/cmd/rowhook/control", only: []string{"cmd/rowhook/pipeline"}, except: true, why: "the pipeline gets rules and a router"},
	{imports: "rowhook/cmd", only: []string{"cmd/rowhook/pipeline/kept"}, except: true, why: "kept rows need capture's words and a store"},
	{imports: "rowhook/mapping", only: []string{"cmd/rowhook/pipeline/kept"}, except: true, why: "kept rows are filled in before the mapping, which does not know"},
	{imports: "rowhook/delivery", only: []string{"cmd/rowhook/pipeline/kept"}, except: true, tests: true, why: "kept rows know no event; their store is an interface"},
	{imports: "rowhook/capture/postgres", only: []string{"cmd/rowhook/pipeline"}, except: true, why: "the pipeline is the sink of any source"},
	{imports: "rowhook/capture/postgres", only: []string{"cmd/rowhook/backfill"}, except: true, tests: true, why: "a reader belongs to any source"},
	{imports: "rowhook/capture/mysql", only: []string{"cmd/rowhook/backfill"}, except: true, tests: true, why: "a reader belongs to any source"},
	{imports: "rowhook/delivery/engine", only: []string{"cmd/rowhook/backfill"}, except: true, why: "a backfill meets the engine in the spool"},
	{imports: "rowhook/capture/mysql", only: []string{"cmd/rowhook/pipeline"}, except: true, why: "the pipeline is the sink of any source"},
	{imports: "rowhook/delivery/engine", only: []string{"cmd/rowhook/pipeline"}, except: true, why: "the pipeline meets the engine in the spool"},
	{imports: "rowhook/delivery/engine", only: []string{"cmd/rowhook/config"}, except: true, why: "the config knows nothing of the agent"},
	{imports: "rowhook/delivery/spool", only: []string{"cmd/rowhook/try"}, except: true, why: "a trial stores nothing"},
	{imports: "rowhook/delivery/deliverylog", only: []string{"cmd/rowhook/try"}, except: true, why: "a trial stores nothing"},
	{imports: "rowhook/delivery/webhook", only: []string{"cmd/rowhook/try"}, except: true, why: "a trial sends nothing"},
	{imports: "rowhook/delivery/deliverylog", only: []string{"cmd/rowhook/config"}, except: true, why: "the config knows nothing of the agent"},
	{imports: "rowhook/delivery/spool", only: []string{"cmd/rowhook/config"}, except: true, why: "the config knows nothing of the agent"},
	{imports: "rowhook/capture/capturetest", only: []string{"capture/capturetest", "cmd/rowhook-demo", "cmd/rowhook/cluster/natstest"}, tests: true, why: "throwaway servers are for tests and the demonstration"},
	{imports: "rowhook/capture/postgres", only: []string{"capture/postgres", "cmd"}, tests: true, why: "one source is chosen where things are wired"},
	{imports: "rowhook/capture/mysql", only: []string{"capture/mysql", "cmd"}, tests: true, why: "one source is chosen where things are wired"},
	{imports: "github.com/jackc", only: []string{"capture"}, tests: true, why: "only capture speaks with the database"},
	{imports: "github.com/go-mysql-org", only: []string{"capture"}, tests: true, why: "only capture speaks with the database"},
	{imports: "github.com/go-sql-driver", only: []string{"capture"}, tests: true, why: "only capture speaks with the database"},
	{imports: "github.com/cockroachdb/pebble", only: []string{"delivery/spool"}, why: "the store may be replaced behind the spool's door"},
	{imports: "code.dny.dev/ssrf", only: []string{"delivery/webhook"}, why: "all requests pass one dial guard"},
	{imports: "github.com/expr-lang", only: []string{"mapping"}, why: "expressions are part of mapping rules"},
	{imports: "gopkg.in/yaml.v3", only: []string{"cmd/rowhook/config"}, tests: true, why: "the config is read in one place, rooms own structs"},
	{imports: "github.com/spf13/cobra", only: []string{"cmd"}, why: "commands are cmd's"},
	{imports: "github.com/spf13/cobra", only: []string{"cmd/rowhook/agent", "cmd/rowhook/backfill", "cmd/rowhook/config", "cmd/rowhook/control", "cmd/rowhook/directories", "cmd/rowhook/draft", "cmd/rowhook/environment", "cmd/rowhook/operation", "cmd/rowhook/pipeline", "cmd/rowhook/try"}, except: true, why: "commands are the main package's"},
	{imports: "rowhook/cmd", only: []string{"cmd/rowhook/draft"}, except: true, why: "a draft is a text made of a catalog"},
	{imports: "os", only: []string{"cmd/rowhook/draft"}, except: true, why: "a draft is a text made of a catalog"},
	{imports: "rowhook/cmd", only: []string{"cmd/rowhook/contract"}, except: true, why: "a contract is made of shapes and products"},
	{imports: "os", only: []string{"cmd/rowhook/contract"}, except: true, why: "a contract is made of shapes and products"},
	{imports: "rowhook/cmd/rowhook/agent", only: []string{"cmd/rowhook/catalogue", "cmd/rowhook/console"}, except: true, why: "the agent serves the console, which asks it by operations"},
	{imports: "rowhook/cmd/rowhook/control", only: []string{"cmd/rowhook/catalogue", "cmd/rowhook/console"}, except: true, why: "how operations travel is not the console's matter"},
	{imports: "rowhook/delivery/spool", only: []string{"cmd/rowhook/catalogue", "cmd/rowhook/console"}, except: true, why: "the console asks the agent, by operations alone"},
	{imports: "rowhook/delivery/webhook", only: []string{"cmd/rowhook/catalogue", "cmd/rowhook/console"}, except: true, why: "the console asks the agent, by operations alone"},
	{imports: "rowhook/delivery/engine", only: []string{"cmd/rowhook/catalogue"}, except: true, why: "the catalogue tells what a config says"},
	{imports: "rowhook/capture/postgres", only: []string{"cmd/rowhook/catalogue", "cmd/rowhook/console"}, except: true, tests: true, why: "the main package chooses the source"},
	{imports: "rowhook/capture/mysql", only: []string{"cmd/rowhook/catalogue", "cmd/rowhook/console"}, except: true, tests: true, why: "the main package chooses the source"},
	{imports: "github.com/spf13/cobra", only: []string{"cmd/rowhook/catalogue", "cmd/rowhook/console"}, except: true, why: "commands are the main package's"},
	{imports: "rowhook", only: []string{"cmd/rowhook/spelling"}, except: true, why: "words are compared, whatever they stand for"},
	{imports: "rowhook/cmd/rowhook/account", only: []string{"cmd/rowhook/account", "cmd/rowhook/agent", "cmd/rowhook/config"}, why: "the agent asks the account, others ask the agent"},
	{imports: "rowhook/cmd", only: []string{"cmd/rowhook/account"}, except: true, why: "the account is told what it keeps"},
	{imports: "rowhook/delivery/spool", only: []string{"cmd/rowhook/account"}, except: true, why: "the account lies beside the spool"},
	{imports: "github.com/nats-io", only: []string{"cmd/rowhook/cluster"}, why: "the stream may be replaced behind the cluster's door"},
	{imports: "rowhook/cmd/rowhook/cluster", only: []string{"cmd/rowhook", "cmd/rowhook-demo"}, tests: true, why: "the agent joins it with the rest"},
	{imports: "rowhook/cmd/rowhook/cluster", only: []string{"cmd/rowhook/pipeline", "cmd/rowhook/backfill", "cmd/rowhook/operation", "cmd/rowhook/console", "cmd/rowhook/control", "cmd/rowhook/try"}, except: true, why: "they write to a journal and do not know whose"},
	{imports: "rowhook/cmd/rowhook/cluster/natstest", only: []string{"cmd/rowhook/cluster/natstest", "cmd/rowhook-demo"}, tests: true, why: "throwaway servers are for tests and the demonstration"},
	{imports: "rowhook/delivery/engine", only: []string{"cmd/rowhook/cluster"}, except: true, why: "the engine meets the cluster in its store"},
	{imports: "rowhook/mapping", only: []string{"cmd/rowhook/cluster"}, except: true, why: "what the batches hold is not the cluster's matter"},
	{imports: "html/template", only: []string{"cmd/rowhook/console"}, why: "pages are the console's"},
	{imports: "github.com/chromedp", only: []string{"cmd/rowhook/e2e"}, why: "a browser is for tests of the console"},
	{imports: "testing", only: []string{"capture/capturetest/conformance"}, tests: true, why: "what is shipped holds no test code"},
}

// httpClients are the names of net/http that send requests.
var httpClients = []string{"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"}

// httpSenders are the folders that may send requests: webhook behind its dial
// guard, and control to a running agent's Unix socket.
var httpSenders = []string{"delivery/webhook", "cmd/rowhook/control"}

// TestImportDirection guards who may import whom, over every Go file of the repository.
func TestImportDirection(t *testing.T) {
	t.Parallel()
	files := 0
	walk(t, filepath.Join("..", ".."), func(name string, file *ast.File) {
		files++
		folder := filepath.ToSlash(filepath.Dir(name))
		test := strings.HasSuffix(name, "_test.go")
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rules {
				if below(path, r.imports) && (r.but == "" || !below(path, r.but)) && r.forbids(folder, test) {
					t.Errorf("%s imports %s: %s", name, path, r.why)
				}
			}
		}
		if !test && !slices.ContainsFunc(httpSenders, func(dir string) bool { return below(folder, dir) }) {
			for _, used := range httpUses(file) {
				t.Errorf("%s uses http.%s: requests are sent in %s", name, used, strings.Join(httpSenders, " and "))
			}
		}
	})
	if files < 20 {
		t.Errorf("looked at %d files only", files)
	}
}

func (r *rule) forbids(folder string, test bool) bool {
	if test && r.tests {
		return false
	}
	listed := slices.ContainsFunc(r.only, func(dir string) bool { return below(folder, dir) })
	return listed == r.except
}

// below reports whether a path is dir or lies below it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// httpUses returns the sending names of net/http that a file mentions.
func httpUses(file *ast.File) []string {
	var used []string
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "http" && slices.Contains(httpClients, sel.Sel.Name) {
				used = append(used, sel.Sel.Name)
			}
		}
		return true
	})
	return used
}

// TestProductsAreNotAskedByName guards that a product is one file: outside delivery/format nothing
// is compared with a product's name. The challenge cloudevents is a handshake, for any format.
func TestProductsAreNotAskedByName(t *testing.T) {
	t.Parallel()
	var names []string
	for _, p := range format.Products() {
		names = append(names, strconv.Quote(p.Name))
	}
	walk(t, filepath.Join("..", ".."), func(name string, file *ast.File) {
		folder := filepath.ToSlash(filepath.Dir(name))
		if strings.HasSuffix(name, "_test.go") || below(folder, "delivery/format") {
			return
		}
		for _, literal := range compared(file) {
			if slices.Contains(names, literal) && !(slices.Contains([]string{"delivery/webhook", "cmd/rowhook/contract"}, folder) && literal == `"cloudevents"`) {
				t.Errorf("%s asks for the product %s by its name: ask its value, see delivery.Product", name, literal)
			}
		}
	})
}

// compared lists the literals that a file compares something with.
func compared(file *ast.File) []string {
	var literals []string
	add := func(sides ...ast.Expr) {
		for _, side := range sides {
			if literal, ok := side.(*ast.BasicLit); ok {
				literals = append(literals, literal.Value)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			add(n.X, n.Y)
		case *ast.CaseClause:
			add(n.List...)
		}
		return true
	})
	return literals
}

// walk parses every Go file below root; names are relative to it.
func walk(t *testing.T, root string, visit func(name string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			visit(name, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestImportRules checks the guard itself: each row must be caught, or let through.
func TestImportRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		folder, imports string
		test, forbidden bool
	}{
		{"capture/postgres", "rowhook/delivery", false, true},
		{"capture/postgres", "rowhook/delivery/spool", true, true},
		{"delivery/spool", "rowhook/capture", false, true},
		{"mapping", "rowhook/capture", false, false},
		{"mapping", "rowhook/delivery", false, false},
		{"mapping", "rowhook/delivery/engine", false, true},
		{"delivery/spool", "rowhook/delivery/engine", false, true},
		{"delivery/engine", "rowhook/delivery/spool", false, true},
		{"delivery/engine", "rowhook/delivery/spool", true, false},
		{"delivery", "rowhook/mapping", false, true},
		{"mapping", "rowhook/cmd/rowhook", false, true},
		{"cmd/rowhook", "rowhook/capture/postgres", false, false},
		{"cmd/rowhook", "rowhook/capture/mysql", false, false},
		{"mapping", "rowhook/capture/mysql", false, true},
		{"capture/postgres", "rowhook/capture/mysql", false, true},
		{"cmd/rowhook", "rowhook/capture/capturetest", false, true},
		{"cmd/rowhook", "rowhook/capture/capturetest", true, false},
		{"delivery", "github.com/jackc/pgx/v5", false, true},
		{"capture/postgres", "github.com/jackc/pgx/v5", false, false},
		{"cmd/rowhook", "github.com/jackc/pgx/v5", true, false},
		{"delivery", "gopkg.in/yaml.v3", false, true},
		{"cmd/rowhook", "gopkg.in/yaml.v3", false, true},
		{"cmd/rowhook/config", "gopkg.in/yaml.v3", false, false},
		{"cmd/rowhook", "rowhook/cmd/rowhook/config", false, false},
		{"cmd/rowhook-demo", "rowhook/cmd/rowhook/config", false, true},
		{"cmd/rowhook/config", "rowhook/delivery/spool", false, true},
		{"cmd/rowhook/control", "rowhook/delivery/engine", false, true},
		{"cmd/rowhook/directories", "rowhook/delivery/spool", false, true},
		{"cmd/rowhook/agent", "rowhook/capture/postgres", false, true},
		{"cmd/rowhook/agent", "rowhook/capture/postgres", true, false},
		{"cmd/rowhook/agent", "rowhook/delivery/engine", false, false},
		{"cmd/rowhook/operation", "rowhook/cmd/rowhook/agent", false, true},
		{"cmd/rowhook", "rowhook/cmd/rowhook/agent", false, false},
		{"cmd/rowhook/console", "rowhook/cmd/rowhook/agent", false, true},
		{"cmd/rowhook/console", "rowhook/delivery/spool", false, true},
		{"cmd/rowhook/console", "rowhook/cmd/rowhook/operation", false, false},
		{"cmd/rowhook/agent", "html/template", false, true},
		{"cmd/rowhook/catalogue", "rowhook/delivery/engine", false, true},
		{"cmd/rowhook/e2e", "github.com/chromedp/chromedp", true, false},
		{"cmd/rowhook/environment", "rowhook/delivery/spool", false, true},
		{"cmd/rowhook/operation", "rowhook/delivery/spool", false, true},
		{"cmd/rowhook/control", "rowhook/cmd/rowhook/operation", false, true},
		{"cmd/rowhook/pipeline", "rowhook/delivery/spool", false, false},
		{"cmd/rowhook/try", "rowhook/delivery/spool", false, true},
		{"cmd/rowhook/pipeline", "rowhook/delivery/engine", false, true},
		{"cmd/rowhook/pipeline", "rowhook/cmd/rowhook/config", false, true},
		{"cmd/rowhook/pipeline", "rowhook/cmd/rowhook/config", true, false},
		{"cmd/rowhook/config", "github.com/spf13/cobra", false, true},
		{"cmd/rowhook/agent", "github.com/nats-io/nats.go", false, true},
		{"cmd/rowhook/agent", "rowhook/cmd/rowhook/cluster", false, false},
		{"cmd/rowhook/cluster", "rowhook/delivery/engine", false, true},
		{"delivery/spool", "testing", false, true},
		{"deliverytools", "rowhook/capture", false, false},
	} {
		forbidden := slices.ContainsFunc(rules, func(r rule) bool {
			return below(c.imports, r.imports) && r.forbids(c.folder, c.test)
		})
		if forbidden != c.forbidden {
			t.Errorf("%s importing %s (test %t): forbidden is %t", c.folder, c.imports, c.test, forbidden)
		}
	}
}

// TestDependenciesHaveReasons: each direct dependency in go.mod says beside it what it is for.
func TestDependenciesHaveReasons(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "\t") || strings.HasSuffix(strings.TrimSpace(line), "// indirect") {
			continue
		}
		direct++
		if _, reason, _ := strings.Cut(line, "//"); strings.TrimSpace(reason) == "" {
			t.Errorf("go.mod has no reason beside %s", strings.TrimSpace(line))
		}
	}
	if direct < 10 {
		t.Errorf("looked at %d dependencies only", direct)
	}
}
