package mapping

import (
	"testing"

	"rowhook/capture"
)

// TestBigintsOfArithmetic: what a 64-bit integer and a decimal make is a decimal, unless it is rounded.
func TestBigintsOfArithmetic(t *testing.T) {
	t.Parallel()
	of := table("shop.orders", capture.IdentityFull, "id bigint key", "rate numeric", "ratio float", "count int")
	for text, want := range map[string]bool{
		"row.id + 1": true, "row.id * row.count": true, "-row.id": true, "row.id ?? 0": true, "abs(row.id - 1)": true,
		"row.id * 0.5": false, "row.id * row.rate": false, "row.ratio + row.id": false, "row.id - 0.25": false,
		"row.id + row.id / 2": false, "row.id * abs(row.rate)": false, "row.id / 2": false,
		"floor(row.id / 100)": true, "int(row.id * 0.5)": true, "round(row.id * row.rate) + 1": true, "row.id * round(row.rate)": true,
		"floor(row.rate)": false, "floor(row.id / 100) / 2": false,
	} {
		x, err := compileExpression(text, false)
		if err != nil {
			t.Fatal(err)
		}
		w := bigintWalk{table: of}
		if got := w.gives(x.tree); got != want {
			t.Errorf("%s gives 64-bit integers: %v, want %v", text, got, want)
		}
	}
}
