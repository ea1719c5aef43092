package engine

import (
	"testing"
	"time"

	"rowhook/delivery"
)

// A collapsed line stands for lines of a profile whose log keeps no row data. It keeps none either.
func TestCollapsedLineKeepsItsBodyLimit(t *testing.T) {
	t.Parallel()
	var f flood
	for _, event := range []string{"evt_1", "evt_2", "evt_3"} {
		f.add(&delivery.LogRecord{
			Time: time.Unix(1, 0), Event: event, Outcome: delivery.OutcomeRetrying, BodyLimit: -1,
			Key: []byte(`{"ssn":"078-05-1120"}`), Body: []byte("row data"), Response: []byte("row data"),
		})
	}
	if len(f.kinds) != 1 {
		t.Fatalf("%d kinds", len(f.kinds))
	}
	k := f.kinds[0]
	if k.BodyLimit != -1 || k.Key != nil || k.Body != nil || k.Response != nil || k.Count != 3 || k.First != "evt_1" || k.Last != "evt_3" {
		t.Errorf("the collapsed line is %+v", k)
	}
}
