package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"rowhook/cmd/rowhook/operation"
)

func TestAnswerWithoutReply(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{out: &out, err: io.Discard}
	err := c.printAnswer(operation.EndpointAnswer{Profile: "desk", Asked: true, State: "pending", Reason: "guard", Error: "127.0.0.1 is loopback", DurationMS: 2}, false, "the challenge")
	if out.String() != "no reply to the challenge after 2ms\ndesk is pending\n" {
		t.Errorf("printed %q", out.String())
	}
	var remedied interface{ RemedyText() string }
	if !errors.As(err, &remedied) || !strings.Contains(remedied.RemedyText(), "allow_networks") {
		t.Errorf("error %v", err)
	}
}

func TestPrintProfileList(t *testing.T) {
	t.Parallel()
	l := operation.ProfileListing{
		Format: "native", MessageType: "json", Host: "desk.example.org",
		Subscriptions: []string{"loan.* of circulation.loans by branch not in web_api", "record.deleted"},
	}
	l.Profile, l.Name, l.State, l.Reason = "desk", "Circulation desk", "pending", "challenge"
	var out bytes.Buffer
	must(t, printProfileList(&out, []operation.ProfileListing{l}))
	want := "PROFILE  NAME              FORMAT       STATE    REASON     SINCE  HOST              LAST DELIVERY  BACKLOG  SUBSCRIPTIONS\n" +
		"desk     Circulation desk  native json  pending  challenge  -      desk.example.org  -              0        loan.* of circulation.loans by branch not in web_api; record.deleted\n"
	if out.String() != want {
		t.Errorf("printed\n%s", out.String())
	}
}

func TestPrintAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answer  operation.EndpointAnswer
		to      string
		printed string
		code    int
		wanted  string
	}{
		{answer: operation.EndpointAnswer{
			Profile: "desk", Asked: true, State: "pending", Status: 200, DurationMS: 3, Reason: "challenge", Response: "thanks\n",
			Error: "the reply does not contain the challenge's text",
		}, to: "the challenge", printed: "reply to the challenge: status 200 in 3ms\nthanks\ndesk is pending\n",
			code: exitFailed, wanted: "profile desk: the reply does not contain the challenge's text"},
		{answer: operation.EndpointAnswer{Profile: "desk", Asked: true, State: "active", Status: 404, DurationMS: 3}, to: "test event test_1",
			printed: "reply to test event test_1: status 404 in 3ms\ndesk is active\n", code: exitFailed, wanted: "profile desk: the reply's status 404 does not mean delivered"},
		{answer: operation.EndpointAnswer{Profile: "desk", OK: true, State: "active"}, to: "the challenge", printed: "desk is active\n"},
	} {
		var out bytes.Buffer
		err := (&console{out: &out, err: io.Discard}).printAnswer(tt.answer, false, tt.to)
		if out.String() != tt.printed || (err == nil) != (tt.wanted == "") || err != nil && (err.Error() != tt.wanted || exitCode(err) != tt.code) {
			t.Errorf("printed %q, error %v", out.String(), err)
		}
	}
}
