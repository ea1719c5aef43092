package operation

import "fmt"

// HealthAnswer is what /healthz and /readyz say, for those who cannot ask over HTTP.
type HealthAnswer struct {
	Live  Health `json:"live"`
	Ready Health `json:"ready"`
}

// Health is what /healthz and /readyz answer.
type Health struct {
	Status  string          `json:"status"` // ok or failing
	Reasons []HealthProblem `json:"reasons,omitempty"`
}

// HealthProblem is one thing that is not as it should be. Reason is one of a closed set.
type HealthProblem struct {
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

// Add adds a problem.
func (h *Health) Add(reason, format string, args ...any) {
	h.Status = "failing"
	h.Reasons = append(h.Reasons, HealthProblem{reason, fmt.Sprintf(format, args...)})
}
