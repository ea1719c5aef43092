package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"rowhook/capture"
	"rowhook/cmd/rowhook/account"
	"rowhook/cmd/rowhook/cluster"
	"rowhook/delivery"
	"rowhook/delivery/alert"
	"rowhook/delivery/format"
	"rowhook/mapping"
)

// Config is the config file. Each room owns its section's struct.
type Config struct {
	Source        sourceConfig             `yaml:"source" doc:"the database"`
	State         string                   `yaml:"state" path:"file" doc:"directory of the spool, the audit trail and the control socket; owner-only"`
	Spool         spoolConfig              `yaml:"spool" doc:"the durable queue between the database and the receivers"`
	ShutdownGrace time.Duration            `yaml:"shutdown_grace" doc:"time for requests in flight to end after SIGTERM"`
	Rate          string                   `yaml:"rate" unit:"rate" doc:"most requests of all profiles together in a time, such as 10/1s; what exceeds it waits"`
	Mapping       mapping.Config           `yaml:"mapping" doc:"which tables make which events; an entry is named for its table, or has a table of its own"`
	Lookups       []mapping.LookupConfig   `yaml:"lookups" doc:"tables whose rows are kept, so that events of other tables can say what stands in them"`
	Defaults      delivery.ProfileConfig   `yaml:"defaults" doc:"values for profiles that do not say otherwise"`
	Profiles      []delivery.ProfileConfig `yaml:"profiles" doc:"the receivers, by code"`
	Log           delivery.LogConfig       `yaml:"log" doc:"rowhook's own messages and the delivery log"`
	Account       account.Config           `yaml:"account" doc:"what became of each change, also of those that made no event, for rowhook explain"`
	Alerts        alert.Config             `yaml:"alerts" doc:"mail to the profiles' contacts"`
	Admin         adminConfig              `yaml:"admin" doc:"metrics, health, status and the console over HTTP"`
	Cluster       cluster.Config           `yaml:"cluster" doc:"several machines that do one agent's work; see cluster.md"`

	_ struct{} `later:"backfill handover jetstream memory store trigger"`

	rules    *mapping.Rules // Mapping, compiled
	products delivery.Products

	file    string // as given
	env     func(string) (string, bool)
	root    *yaml.Node
	hidden  []string
	inline  [][2]int
	secrets []readFrom
	read    filesRead
	host    *Config // the config in force, of one that a guest shows; nil otherwise
}

// sourceConfig is the source's connection and what of its stream concerns the mapping.
type sourceConfig struct {
	capture.SourceConfig `yaml:",inline"`

	_ struct{} `later:"backfill"`

	Context mapping.ContextConfig `yaml:"context" doc:"where actor and operation come from"`
	Signals mapping.SignalsConfig `yaml:"signals" doc:"events that the application writes itself"`
}

// MySQL reports whether the source is MySQL or MariaDB.
func (s *sourceConfig) MySQL() bool { return s.Type == typeMySQL }

// spoolConfig is the spool's budget.
type spoolConfig struct {
	MaxSize     int64         `yaml:"max_size" unit:"size" doc:"what the spool may take on disk"`
	History     time.Duration `yaml:"history" doc:"how long delivered events are kept"`
	HistorySize int64         `yaml:"history_size" unit:"size" doc:"what delivered events may take"`
	Dead        time.Duration `yaml:"dead" doc:"how long dead letters are kept"`
	Sync        time.Duration `yaml:"sync" doc:"longest time between two fsyncs while there is work"`
	Reserve     int64         `yaml:"reserve" unit:"size" doc:"free disk below which nothing is taken from the database"`
}

// machineState is where the state is by default of a config that lies in /etc, where nothing is
// written.
const machineState = "/var/lib/rowhook"

// ofMachine reports whether a config's directory is one of the machine's, in /etc.
func ofMachine(dir string) bool {
	dir, err := filepath.Abs(dir)
	return err == nil && strings.HasPrefix(dir+"/", "/etc/")
}

// defaultConfig is the config before the file is read. Paths are relative to dir, but of a config
// in /etc.
func defaultConfig(dir string) *Config {
	log := delivery.DefaultLogConfig()
	log.Deliveries = filepath.Join(dir, log.Deliveries)
	state := filepath.Join(dir, "state")
	if ofMachine(dir) {
		state = machineState
	}
	return &Config{
		products: format.Products(),
		Source: sourceConfig{
			SourceConfig: capture.SourceConfig{Slot: "rowhook", Publication: "rowhook", MaxChange: capture.DefaultMaxChange},
			Context:      mapping.DefaultContext(),
		},
		State: state,
		Spool: spoolConfig{
			MaxSize:     10 << 30,
			History:     72 * time.Hour,
			HistorySize: 1 << 30,
			Dead:        30 * 24 * time.Hour,
			Sync:        10 * time.Millisecond,
			Reserve:     256 << 20,
		},
		ShutdownGrace: 20 * time.Second,
		Log:           log,
		Account:       account.DefaultConfig(),
		Alerts:        alert.DefaultConfig(),
		Cluster:       cluster.DefaultConfig(),
	}
}

// Rules is the mapping, compiled.
func (c *Config) Rules() *mapping.Rules { return c.rules }

// Products are the products that profiles name in format, signature and alert.text.
func (c *Config) Products() delivery.Products { return c.products }

// Reload reads the same file again, as [Load] does.
func (c *Config) Reload() (*Config, error) { return Load(c.file, c.env, "") }

// Load reads and validates the config file. env looks environment variables up. An error holds
// everything that is wrong with the file, and [capture.Errors] takes it apart; the config then has what
// could be read, and defaults for the rest.
//
// A standIn that is not empty stands for secrets whose files are missing.
func Load(path string, env func(string) (string, bool), standIn string) (*Config, error) {
	data, err := readConfigFile(path)
	if err != nil {
		c := defaultConfig(filepath.Dir(path))
		c.read = filesRead{path: sha256.Sum256(nil)}
		return c, configErrors{{file: path, text: fmt.Sprintf("read the config: %s", cause(err)),
			remedy: "-c FILE or " + configVariable + " names the config file; without them it is ./config.yaml, or else " + machineConfig + ". config.example.yaml is one to start from"}}
	}
	return Parse(path, data, env, func(path string) ([]byte, error) {
		secret, err := ReadSecret(path)
		if standIn != "" && errors.Is(err, os.ErrNotExist) {
			err = &absentSecret{err, standIn}
		}
		return secret, err
	})
}

// StateDir is where the config file has its state directory, as far as the file can be read. It reads
// nothing else of it, so that a health probe costs little.
func StateDir(path string, env func(string) (string, bool)) string {
	c := defaultConfig(filepath.Dir(path))
	data, err := readConfigFile(path)
	if err != nil {
		return c.State
	}
	root, err := parseYAML(path, data)
	if err != nil {
		return c.State
	}
	if key, value := entry(root, "state"); key != nil {
		d := &decoder{file: path, dir: filepath.Dir(path), env: env, readFile: ReadSecret}
		d.object(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}, reflect.ValueOf(c).Elem(), &field{})
	}
	return c.State
}

// Parse is [Load] for a file's content. The file's name places errors and relative paths. readFile
// reads the files that the config names.
func Parse(file string, data []byte, env func(string) (string, bool), readFile func(string) ([]byte, error)) (*Config, error) {
	return parse(file, data, env, readFile, nil)
}

// parse is [Parse]; host is the config in force, if this one is a guest's.
func parse(file string, data []byte, env func(string) (string, bool), readFile func(string) ([]byte, error), host *Config) (*Config, error) {
	c := defaultConfig(filepath.Dir(file))
	c.read = filesRead{file: sha256.Sum256(data)}
	root, err := parseYAML(file, data)
	if err != nil {
		return c, err
	}
	c.file, c.root, c.env, c.host = file, root, env, host
	readOutside := readFile
	readFile = func(path string) ([]byte, error) {
		data, err := readOutside(path)
		c.read[path] = sha256.Sum256(data)
		return data, err
	}
	d := &decoder{file: file, dir: filepath.Dir(file), env: env, readFile: readFile}
	if host != nil {
		d.known = map[*yaml.Node]bool{}
		noteKnown(d.known, root, host.root)
	}
	d.prefill = map[reflect.Type]func(*yaml.Node) reflect.Value{
		reflect.TypeFor[delivery.ProfileConfig](): func(profile *yaml.Node) reflect.Value {
			return reflect.ValueOf(profileDefaults(d, c.products, child(root, "defaults"), profile))
		},
		reflect.TypeFor[mapping.PartUse](): func(*yaml.Node) reflect.Value { return reflect.ValueOf(mapping.PartUse{Max: mapping.DefaultParts}) },
		reflect.TypeFor[mapping.LookupUse](): func(*yaml.Node) reflect.Value {
			return reflect.ValueOf(mapping.LookupUse{MaxTouched: mapping.DefaultTouched})
		},
	}
	if root.Kind != yaml.MappingNode {
		d.refuse(root, "expected a map with source, mapping and profiles, got %s", describe(root, &field{secret: true}))
		return c, d.errs.orNil()
	}
	d.object(root, reflect.ValueOf(c).Elem(), &field{})
	if _, _, depth := walk(root, []string{"log", "deliveries"}); depth < 2 && ofMachine(d.dir) {
		c.Log.Deliveries = filepath.Join(c.State, delivery.DefaultLogConfig().Deliveries)
	}
	c.hidden, c.inline, c.secrets = d.hidden, d.inline, d.secrets
	c.noteHeaders()

	errs := d.errs.with(c.validate(readFile, d.errs.under("mapping", "source")))
	if err := errs.orNil(); err != nil {
		return c, err
	}
	c.noteOrdering()
	return c, nil
}

// profileDefaults is what a profile starts from: the preset of its format, then the
// `defaults` section. The format itself may come from either of the two nodes.
func profileDefaults(d *decoder, products delivery.Products, defaults, profile *yaml.Node) delivery.ProfileConfig {
	over := func(p delivery.ProfileConfig, nodes ...*yaml.Node) delivery.ProfileConfig {
		quiet := *d // the errors of these nodes are told where they are decoded for themselves
		quiet.errs = nil
		for _, n := range nodes {
			if n != nil {
				quiet.object(n, reflect.ValueOf(&p).Elem(), &field{})
			}
		}
		return p
	}
	named := over(delivery.ProfileConfig{Format: delivery.DefaultFormat}, defaults, profile)
	return over(products.Defaults(named.Format), defaults)
}

// locate returns line and column of the value at a path of keys and indexes, or of the nearest
// thing above it that the file has. What a profile has from `defaults` is found there. Maps and
// lists are at their key.
func (c *Config) locate(path ...string) (line, column int) {
	line, column, depth := walk(c.root, path)
	if depth < len(path) && len(path) > 2 && path[0] == "profiles" {
		inherited := append([]string{"defaults"}, path[2:]...)
		if l, col, found := walk(c.root, inherited); found == len(inherited) {
			return l, col
		}
	}
	return line, column
}

// walk follows a path as far as it goes, and tells how many segments it went.
func walk(n *yaml.Node, path []string) (line, column, depth int) {
	if n == nil {
		return 0, 0, 0
	}
	line, column = n.Line, n.Column
	for _, segment := range path {
		if segment == "0" && n.Kind != yaml.SequenceNode && child(n, segment) == nil {
			depth++ // one element that stands for a list of one
			continue
		}
		switch n.Kind {
		case yaml.MappingNode:
			key, value := entry(n, segment)
			if key == nil {
				return line, column, depth
			}
			n, line, column = value, key.Line, key.Column
		case yaml.SequenceNode:
			index, err := strconv.Atoi(segment)
			if err != nil || index < 0 || index >= len(n.Content) {
				return line, column, depth
			}
			n = n.Content[index]
			line, column = n.Line, n.Column
		default:
			return line, column, depth
		}
		if n.Kind == yaml.ScalarNode {
			line, column = n.Line, n.Column
		}
		depth++
	}
	return line, column, depth
}
