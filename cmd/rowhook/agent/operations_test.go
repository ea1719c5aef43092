package agent

import (
	"testing"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/engine"
)

func TestDescribeFilter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		filter engine.Filter
		want   string
	}{
		{engine.Filter{}, ""},
		{engine.Filter{Profile: "desk"}, ""},
		{engine.Filter{Profile: "desk", ID: "evt_1"}, "evt_1"},
		{engine.Filter{Profile: "desk", Type: "loan.*"}, `{"type":"loan.*"}`},
	} {
		if got := describeFilter(test.filter); got != test.want {
			t.Errorf("%+v: %q, want %q", test.filter, got, test.want)
		}
	}
}

func TestDescribeParked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		request operation.ParkedRequest
		want    string
	}{
		{operation.ParkedRequest{All: true}, ""},
		{operation.ParkedRequest{Table: "catalog.*"}, "catalog.*"},
		{operation.ParkedRequest{Seqs: []delivery.Seq{3, 14}}, "3 14"},
	} {
		if got := describeParked(test.request); got != test.want {
			t.Errorf("%+v: %q, want %q", test.request, got, test.want)
		}
	}
}
