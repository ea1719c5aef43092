package mysql

import "testing"

func TestTypeNamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"int": "int", "BIGINT unsigned": "bigint unsigned", "boolean": "tinyint", "numeric": "decimal", "longtext": "text",
		"json": "json", "timestamp": "timestamp", "MultiPoint": "geometry", "geomcollection": "geometry", "decimal(8,2)": "", "text unsigned": "", "none": "", "": "",
	} {
		got := ""
		if typ := TypeNamed(name); typ != nil {
			got = typ.Name
		}
		if got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
