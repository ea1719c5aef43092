package agent

import (
	"errors"
	"os"
	"slices"
	"testing"

	"rowhook/cmd/rowhook/operation"
)

func TestIdentityCompare(t *testing.T) {
	t.Parallel()
	pinned := operation.Identity{Lineage: "7001", Hosts: "db1:5432", Machine: "aa"}
	tests := []struct {
		name       string
		found      operation.Identity
		successors []string
		want       []string
	}{
		{name: "the same", found: pinned},
		{name: "another server behind the same URL", found: operation.Identity{Lineage: "7002", Hosts: "db1:5432", Machine: "aa"}, want: []string{"lineage"}},
		{name: "a named successor", found: operation.Identity{Lineage: "7002", Hosts: "db1:5432", Machine: "aa"}, successors: []string{"7002"}},
		{name: "another address", found: operation.Identity{Lineage: "7001", Hosts: "db2:5432", Machine: "aa"}, want: []string{"hosts"}},
		{name: "a host that is named", found: operation.Identity{Lineage: "7001", Hosts: "db2:5432", Machine: "aa"}, successors: []string{"db2"}},
		{name: "a host more than before", found: operation.Identity{Lineage: "7001", Hosts: "db1:5432,db2:5432", Machine: "aa"}, want: []string{"hosts"}},
		{name: "a copied state directory", found: operation.Identity{Lineage: "7001", Hosts: "db1:5432", Machine: "bb"}, want: []string{"machine"}},
		{name: "moved into a container", found: operation.Identity{Lineage: "7001", Hosts: "db1:5432"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, d := range compareIdentity(pinned, tt.found, tt.successors) {
				got = append(got, d.What)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("differences = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMachineName(t *testing.T) {
	t.Parallel()
	files := func(content map[string]string) func(string) ([]byte, error) {
		return func(name string) ([]byte, error) {
			if text, ok := content[name]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		}
	}
	noEnv := func(string) string { return "" }
	host := machineName(files(map[string]string{"/etc/machine-id": "abc\n"}), noEnv)
	if len(host) != 16 {
		t.Errorf("name = %q, want 16 hex digits", host)
	}
	if other := machineName(files(map[string]string{"/etc/machine-id": "abd\n"}), noEnv); other == host {
		t.Error("two machines have one name")
	}
	if name := machineName(files(map[string]string{"/etc/machine-id": "abc\n", "/.dockerenv": ""}), noEnv); name != "" {
		t.Errorf("name inside a container = %q, want none", name)
	}
	if name := machineName(files(nil), noEnv); name != "" {
		t.Errorf("name of a machine without identifiers = %q, want none", name)
	}
}

// memoryMeta keeps the spool's small values in memory.
type memoryMeta map[string][]byte

func (m memoryMeta) Meta(key string) ([]byte, error)        { return m[key], nil }
func (m memoryMeta) SetMeta(key string, value []byte) error { m[key] = value; return nil }

func TestIdentityIsPinned(t *testing.T) {
	t.Parallel()
	store := memoryMeta{}
	if _, ok, err := loadIdentity(store); ok || err != nil {
		t.Fatalf("identity of a new state = %v, %v", ok, err)
	}
	want := operation.Identity{Lineage: "7001", Hosts: "db1", Machine: "aa"}
	if err := saveIdentity(store, want); err != nil {
		t.Fatal(err)
	}
	got, ok, err := loadIdentity(store)
	if got != want || !ok || err != nil {
		t.Errorf("identity = %+v, %v, %v", got, ok, err)
	}
	store[metaIdentity] = []byte("{")
	if _, _, err := loadIdentity(store); err == nil {
		t.Error("a damaged identity was accepted")
	}
}

func TestAgentIDStays(t *testing.T) {
	t.Parallel()
	store := memoryMeta{}
	first, err := agentID(store)
	if err != nil || len(first) != 16 {
		t.Fatalf("agent id = %q, %v", first, err)
	}
	if second, err := agentID(store); second != first || err != nil {
		t.Errorf("second agent id = %q, %v, want %q", second, err, first)
	}
}

// failingMeta fails every call.
type failingMeta struct{}

func (failingMeta) Meta(string) ([]byte, error)  { return nil, errors.New("no disk") }
func (failingMeta) SetMeta(string, []byte) error { return errors.New("no disk") }

func TestIdentityErrorsAreReported(t *testing.T) {
	t.Parallel()
	if _, _, err := loadIdentity(failingMeta{}); err == nil {
		t.Error("loadIdentity hid an error")
	}
	if err := saveIdentity(failingMeta{}, operation.Identity{}); err == nil {
		t.Error("saveIdentity hid an error")
	}
	if _, err := agentID(failingMeta{}); err == nil {
		t.Error("agentID hid an error")
	}
}
