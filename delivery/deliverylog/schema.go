package deliverylog

import "rowhook/delivery"

// Schema is the JSON Schema (2020-12) of one line.
func Schema() delivery.Schema {
	text := func(description string) delivery.Schema {
		return delivery.Schema{"type": "string", "description": description}
	}
	at := func(description string) delivery.Schema {
		return delivery.Schema{"type": "string", "format": "date-time", "description": description}
	}
	count := func(least int, description string) delivery.Schema {
		return delivery.Schema{"type": "integer", "minimum": least, "description": description}
	}
	properties := delivery.Schema{
		"v":              delivery.Schema{"const": 1, "description": "the version of the line"},
		"time":           at("when it happened"),
		"profile":        text("for whom; absent where it concerns the source"),
		"outcome":        delivery.Schema{"enum": delivery.Outcomes(), "description": "what came of it"},
		"event":          text("the event's id, or the group's"),
		"type":           text("the event's type"),
		"table":          text("schema.table"),
		"key":            delivery.Schema{"type": "object", "description": "the row's key"},
		"position":       text("the place of the commit in the stream"),
		"unit":           text("of a group: its unit"),
		"count":          count(1, "of a group: how many events; of collapsed lines: how many attempts"),
		"first":          text("the first event's id"),
		"last":           text("the last event's id"),
		"attempt":        count(1, "how many tries the delivery has spent"),
		"round":          count(2, "2 is a dead letter that was retried, or a replay"),
		"epoch":          count(1, "of a cluster: under which epoch its machine owned the profile"),
		"method":         text("of the request"),
		"url":            text("of the request; credentials are masked"),
		"status":         count(1, "of the answer"),
		"duration_ms":    delivery.Schema{"type": "number", "minimum": 0},
		"reason":         delivery.Schema{"type": "string", "pattern": "^[a-z0-9_]+$", "description": "why it failed, or ended otherwise than delivered"},
		"error":          text("the reason in words"),
		"flags":          delivery.Schema{"type": "array", "items": text("a column whose value did not fit its type's policy"), "minItems": 1},
		"next_attempt":   at("when it is tried again"),
		"bytes":          count(1, "of the whole body"),
		"body":           text("what the log keeps of the body"),
		"body_truncated": delivery.Schema{"type": "boolean"},
		"response":       text("what the log keeps of the answer"),
	}
	return delivery.Schema{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A line of rowhook's delivery log, version 1",
		"description": "Later versions of rowhook may add members.",
		"type":        "object", "properties": properties, "required": []string{"v", "time", "outcome"},
	}
}
