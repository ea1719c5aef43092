package format

import (
	"path/filepath"
	"testing"

	"rowhook/delivery"
)

// TestNativeXMLGolden compares every shape of an event, alone and in a group, with its golden file.
func TestNativeXMLGolden(t *testing.T) {
	t.Parallel()
	cfg := delivery.ProfileConfig{Code: "desk", Format: "native", MessageType: "xml"}
	for name, ev := range events() {
		record, operation := mustRender(t, cfg, ev), renderGroup(t, cfg, ev, ev)
		assertXML(t, record)
		assertXML(t, operation)
		goldenLines(t, filepath.Join("native_xml", name+".txt"), record, operation)
	}
}
