package config

import "testing"

func TestExampleConfig(t *testing.T) {
	t.Parallel()
	c, err := Load(exampleConfig, exampleEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.State != "../../../state" || c.Log.Deliveries != "../../../log/deliveries.jsonl" {
		t.Errorf("paths %q and %q", c.State, c.Log.Deliveries)
	}
	if len(c.Mapping) != 14 || len(c.Mapping[0].Events) != 8 || c.Mapping[5].Name != "catalog.items" {
		t.Errorf("%d entries of the mapping, the first %+v", len(c.Mapping), c.Mapping[0])
	}
	if len(c.Profiles) != 8 || c.Profiles[1].Format != "native" || c.Profiles[0].Subscriptions[0].Operations.Not[0] != "web_api" {
		t.Errorf("profiles %+v", c.Profiles)
	}
	if got := codes(c); got != "" {
		t.Errorf("findings %q", got)
	}
}
