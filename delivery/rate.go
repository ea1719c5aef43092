package delivery

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is a number of requests in a time. The zero value does not limit.
type Rate struct {
	Requests int
	Per      time.Duration
}

// Bounds of a [Rate]: what is beyond them was meant otherwise.
const (
	maxRateRequests = 1_000_000
	maxRatePer      = 24 * time.Hour
)

// ParseRate reads rates such as 50/s, 10/1s, 600/m and 1/500ms. An empty text does not limit.
func ParseRate(text string) (Rate, error) {
	if text == "" {
		return Rate{}, nil
	}
	number, per, found := strings.Cut(text, "/")
	requests, err := strconv.Atoi(number)
	if !found || err != nil || requests < 1 || requests > maxRateRequests || number[0] == '+' {
		return Rate{}, fmt.Errorf("%q is not a rate", text)
	}
	if per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	duration, err := time.ParseDuration(per)
	if err != nil || duration < time.Millisecond || duration > maxRatePer {
		return Rate{}, fmt.Errorf("%q is not a rate", text)
	}
	return Rate{Requests: requests, Per: duration}, nil
}
