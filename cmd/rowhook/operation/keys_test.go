package operation

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestKeys holds the names and types of every member of a request, an answer and the audit log:
// commands and agents of different versions speak with each other.
func TestKeys(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	for _, word := range []any{
		FilterRequest{}, DeliveryRequest{}, ResumeRequest{}, UserRequest{}, BodyRequest{}, BodyAnswer{}, AgentAnswer{}, None{},
		ParkedRequest{}, ParkedList{}, ReplayRequest{}, ReplayStopped{}, ProfileListing{}, ActivateRequest{}, EndpointAnswer{}, StateAnswer{},
		ReloadRequest{}, ReloadStatus{}, HandoverAnswer{}, Adoption{}, AuditLine{}, HealthAnswer{}, StatusReport{},
		BackfillRequest{}, BackfillPlan{}, BackfillChange{}, Backfill{}, ExplainRequest{}, Explanation{},
	} {
		typ := reflect.TypeOf(word)
		fmt.Fprintln(&got, typ.Name())
		writeKeys(&got, typ, "  ")
	}
	path := filepath.Join("testdata", "keys.golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the members differ from %s; got:\n%s", path, got.String())
	}
}

// writeKeys writes a struct's members, and theirs where they are structs of rowhook's own.
func writeKeys(to *strings.Builder, typ reflect.Type, indent string) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		if field.Anonymous {
			writeKeys(to, field.Type, indent)
			continue
		}
		inner := field.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		tag := field.Tag.Get("json")
		if inner.Kind() != reflect.Struct || !strings.HasPrefix(inner.PkgPath(), "rowhook/") {
			fmt.Fprintf(to, "%s%s %s\n", indent, tag, field.Type.Kind())
			continue
		}
		fmt.Fprintf(to, "%s%s\n", indent, tag)
		writeKeys(to, inner, indent+"  ")
	}
}
