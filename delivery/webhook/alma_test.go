package webhook

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

// almaVectors are signatures that listeners for Alma agree on. The last is from a public listener's
// own tests.
var almaVectors = []struct{ secret, body, signature string }{
	{"rowhook-test-secret", `{"id":"4611686018427387904","action":"LOAN","event":{"value":"LOAN_RETURNED","desc":"Loan returned"},"institution":{"value":"99ROW_INST","desc":"Rowhook Library"},"time":"2026-01-02T03:04:05.678Z","item_loan":{"loan_id":"1001","user_id":"u-1","item_barcode":"B0001"}}`, "1nP3MVRHPSVBR60fbTWzMkfQHZvpQmaa4/VMIr1tTLk="},
	{"rowhook-test-secret", `{"id":"4611686018427387905","action":"BIB","event":{"value":"BIB_UPDATED","desc":"BIB record updated"},"institution":{"value":"99ROW_INST","desc":"図書館 <A&B>"},"time":"2026-01-02T03:04:05.678Z","bib":{"mms_id":"9912345","title":"日本語の「題名」 / \"quoted\" \\ end"}}`, "99G6ZLbvRwDX8iGPZ+RfSqOnDEQmurPMFf9H/UxsEzM="},
	{"rowhook-test-secret", `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><webhook><id>4611686018427387906</id><action>LOAN</action><event desc="Loan returned">LOAN_RETURNED</event><institution desc="Rowhook Library">99ROW_INST</institution><time>2026-01-02T03:04:05.678Z</time><item_loan><loan_id>1001</loan_id><user_id>u-1</user_id><item_barcode>B0001</item_barcode></item_loan></webhook>`, "hpuCB4ySisLvwHlwGU3Dp4Y+gBu9jluOC/kXaQLlEUU="},
	{"test_secret", `{"string":"garble","action":"exl-event"}`, "vPApXFBjxqVEykEJgDiD7dBuXqHvY8nIJdGrXUFXh4k="},
}

// TestAlmaSignature sends what listeners for Alma expect: a raw request shows the header's name in
// its case, the body's length, and no trace of Standard Webhooks' signature.
func TestAlmaSignature(t *testing.T) {
	t.Parallel()
	for _, vector := range almaVectors {
		url, request := rawReceiver(t)
		cfg := profile(url)
		cfg.Signature, cfg.Secret = "alma", vector.secret
		s, _ := sender(t, cfg)
		if warnings := s.Warnings(); len(warnings) > 0 {
			t.Errorf("warnings %v", warnings)
		}
		reply := s.Send(context.Background(), &delivery.Request{
			ID: "evt_1", Body: []byte(vector.body), Head: delivery.Head{ContentType: "application/json;charset=UTF-8"},
		})
		if reply.Class != delivery.ClassOK {
			t.Fatalf("reply %+v", reply)
		}
		head, body, _ := strings.Cut(<-request, "\r\n\r\n")
		head += "\r\n"
		if !strings.Contains(head, "\r\nX-Exl-Signature: "+vector.signature+"\r\n") || body != vector.body {
			t.Errorf("request %s\n%s", head, body)
		}
		if strings.Contains(head, "Webhook-Signature") || strings.Contains(head, "Transfer-Encoding") || !strings.Contains(head, "\r\nContent-Type: application/json;charset=UTF-8") {
			t.Errorf("request %s", head)
		}
	}
}

// rawReceiver takes one request and returns it byte by byte.
func rawReceiver(t *testing.T) (url string, request <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	got := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var raw strings.Builder
		r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &raw)))
		if err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		got <- raw.String()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}()
	return "http://" + listener.Addr().String() + "/", got
}

// TestAlmaSecrets: Alma's receivers know one secret at a time, and it is never decoded.
func TestAlmaSecrets(t *testing.T) {
	t.Parallel()
	cfg := profile("http://127.0.0.1:1/")
	cfg.Signature, cfg.Secret = "alma", ""
	now := time.Now()
	cfg.Secrets = []delivery.SecretConfig{{Secret: "gone", NotAfter: now.Add(-time.Second)}, {Secret: "whsec_not base64"}, {Secret: "next"}}
	s, _ := sender(t, cfg)
	sign := func(keys ...signingKey) (string, bool) {
		signature, ok, err := newSigner(s.signature, keys).sign("", "", []byte("body"), nil, now)
		if err != nil {
			t.Fatal(err)
		}
		return signature, ok
	}
	got, ok := sign(s.keys...)
	want, _ := sign(signingKey{key: []byte("whsec_not base64")})
	if !ok || got != want {
		t.Errorf("signed %s, %v", got, ok)
	}
	if _, ok := sign(s.keys[:1]...); ok {
		t.Error("signed with a secret that is past its time")
	}
}

func TestVerifyAlma(t *testing.T) {
	t.Parallel()
	vector := almaVectors[0]
	header := http.Header{}
	header.Set("X-Exl-Signature", vector.signature)
	if err := VerifyAny(format.Products(), header, []byte(vector.body), time.Now(), "other", vector.secret); err != nil {
		t.Error(err)
	}
	if err := VerifyAny(format.Products(), header, []byte(vector.body+" "), time.Now(), vector.secret); !errors.Is(err, ErrBadSignature) {
		t.Error(err)
	}
}

// TestPresetReplies holds the presets of the two products to their tables of answers.
func TestPresetReplies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		format string
		class  map[int]delivery.Class
	}{
		{"alma", map[int]delivery.Class{
			200: delivery.ClassOK, 201: delivery.ClassOK, 202: delivery.ClassOK, 204: delivery.ClassOK,
			301: delivery.ClassDead, 302: delivery.ClassDead, 308: delivery.ClassDead,
			400: delivery.ClassDead, 401: delivery.ClassDead, 404: delivery.ClassDead, 408: delivery.ClassDead, 410: delivery.ClassDead, 413: delivery.ClassDead, 429: delivery.ClassDead,
			500: delivery.ClassTransient, 502: delivery.ClassTransient, 503: delivery.ClassThrottle, 504: delivery.ClassTransient,
		}},
		{"rakuraku", map[int]delivery.Class{
			200: delivery.ClassOK, 201: delivery.ClassOK, 202: delivery.ClassTransient, 204: delivery.ClassTransient, 299: delivery.ClassTransient,
			301: delivery.ClassTransient, 400: delivery.ClassTransient, 401: delivery.ClassTransient, 404: delivery.ClassTransient, 410: delivery.ClassTransient, 413: delivery.ClassTransient,
			429: delivery.ClassTransient, 500: delivery.ClassTransient, 503: delivery.ClassTransient, 100: delivery.ClassTransient,
		}},
	} {
		cfg := format.Products().Defaults(test.format)
		cfg.Code, cfg.URL, cfg.AllowNetworks = "desk", "http://127.0.0.1:1/", []string{"loopback"}
		s, _ := sender(t, cfg)
		for status, want := range test.class {
			if got := s.table.class(status); got != want {
				t.Errorf("%s: %d is class %d, not %d", test.format, status, got, want)
			}
		}
	}
}
