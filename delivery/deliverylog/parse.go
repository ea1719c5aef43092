package deliverylog

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"rowhook/delivery"
)

// Every line begins with lineStart, and then the time in the form of lineTime.
const (
	lineStart = `{"v":1,"time":"`
	lineTime  = "2006-01-02T15:04:05.000000Z"
)

// ParsedRecord is a line of the delivery log, read back.
type ParsedRecord struct {
	delivery.LogRecord
	BodyTruncated bool // Body is only the start of what was sent
}

// ParseLine reads one line of the delivery log, version 1, with or without its newline.
func ParseLine(line []byte) (ParsedRecord, error) {
	var w struct {
		V             int              `json:"v"`
		Time          time.Time        `json:"time"`
		Profile       string           `json:"profile"`
		Outcome       delivery.Outcome `json:"outcome"`
		Event         string           `json:"event"`
		Type          string           `json:"type"`
		Table         string           `json:"table"`
		Key           json.RawMessage  `json:"key"`
		Position      string           `json:"position"`
		Unit          string           `json:"unit"`
		Count         int              `json:"count"`
		First         string           `json:"first"`
		Last          string           `json:"last"`
		Attempt       int              `json:"attempt"`
		Round         int              `json:"round"`
		Epoch         uint64           `json:"epoch"`
		Method        string           `json:"method"`
		URL           string           `json:"url"`
		Status        int              `json:"status"`
		DurationMS    float64          `json:"duration_ms"`
		Reason        string           `json:"reason"`
		Error         string           `json:"error"`
		Flags         []string         `json:"flags"`
		NextAttempt   time.Time        `json:"next_attempt"`
		Bytes         int              `json:"bytes"`
		Body          string           `json:"body"`
		BodyTruncated bool             `json:"body_truncated"`
		Response      string           `json:"response"`
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return ParsedRecord{}, fmt.Errorf("parse delivery log line: %w", err)
	}
	if w.V != 1 {
		return ParsedRecord{}, fmt.Errorf("parse delivery log line: version %d is not known", w.V)
	}
	return ParsedRecord{
		LogRecord: delivery.LogRecord{
			Time: w.Time, Profile: w.Profile, Outcome: w.Outcome, Event: w.Event, Type: w.Type, Table: w.Table,
			Key: w.Key, Position: w.Position, Unit: w.Unit, Count: w.Count, First: w.First, Last: w.Last,
			Attempt: w.Attempt, Round: w.Round, Epoch: w.Epoch, Method: w.Method, URL: w.URL, Status: w.Status,
			Duration: time.Duration(math.Round(w.DurationMS*1000)) * time.Microsecond,
			Reason:   w.Reason, Error: w.Error, Flags: w.Flags, NextAttempt: w.NextAttempt, Bytes: w.Bytes,
			Body: []byte(w.Body), Response: []byte(w.Response),
		},
		BodyTruncated: w.BodyTruncated,
	}, nil
}
