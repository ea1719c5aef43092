package postgres

import "testing"

func TestTypeNamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"text": "text", "INTEGER": "int4", "int8": "int8", "double precision": "float8", "timestamp with time zone": "timestamptz",
		"text[]": "text[]", "integer[]": "int4[]", "numeric(8,2)": "", "none": "", "": "", "[]": "",
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
