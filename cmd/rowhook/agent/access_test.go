package agent

import (
	"errors"
	"testing"

	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

// Without an agent a command works on the state directory itself. What only an agent does is said
// to need one.
func TestReachWithoutAgent(t *testing.T) {
	t.Parallel()
	c := write(t, smallConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none}\n")
	if _, err := ReachRunning(c.State); !errors.Is(err, control.ErrNoAgent) {
		t.Errorf("reach an agent: %v", err)
	}
	access, err := Reach(c, testOptions())
	must(t, err)
	var items engine.Items
	if err := access.Call(t.Context(), "queue/list", operation.FilterRequest{}, &items); err != nil || len(items.Items) > 0 {
		t.Errorf("list what waits: %+v, %v", items, err)
	}
	var paused operation.StateAnswer
	err = access.Call(t.Context(), "profile/pause", operation.ResumeRequest{User: "ada", Profile: "desk"}, &paused)
	if err != nil || paused.State != "inactive" {
		t.Errorf("pause: %+v, %v", paused, err)
	}
	if err := access.Call(t.Context(), "health", operation.None{}, &operation.HealthAnswer{}); !errors.Is(err, control.ErrNoAgent) {
		t.Errorf("ask for health: %v", err)
	}
	must(t, access.Close())
	lines, err := History(c)
	if err != nil || len(lines) != 1 || lines[0].User != "ada" || lines[0].Command != "profile pause" {
		t.Errorf("history: %+v, %v", lines, err)
	}
}
