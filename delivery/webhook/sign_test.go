package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

// The vector that Standard Webhooks publishes with its reference libraries.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTimestamp = "1614265330"
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func signWith(t *testing.T, now time.Time, id, timestamp string, body []byte, keys ...signingKey) (string, bool) {
	t.Helper()
	signature, ok, err := newSigner(nil, keys).sign(id, timestamp, body, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return signature, ok
}

func keyOf(t *testing.T, secret string) signingKey {
	t.Helper()
	key, err := decodeSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return signingKey{key: key}
}

func TestSignPublishedVector(t *testing.T) {
	t.Parallel()
	s := newSigner(nil, []signingKey{keyOf(t, vectorSecret)})
	for range 3 { // the keyed hash is used again
		got, ok, err := s.sign(vectorID, vectorTimestamp, []byte(vectorBody), nil, time.Now())
		if err != nil || !ok || got != vectorSignature {
			t.Fatalf("signature %q, want %q", got, vectorSignature)
		}
	}
}

func TestSignWithSeveralSecrets(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	raw, old := keyOf(t, "a plain secret of some length"), keyOf(t, vectorSecret)
	old.notAfter = now
	single, _ := signWith(t, now, "id", "1", nil, raw)
	for _, test := range []struct {
		name  string
		now   time.Time
		keys  []signingKey
		parts string
		ok    bool
	}{
		{"both in order", now, []signingKey{raw, old}, single + " ", true},
		{"old one gone", now.Add(time.Second), []signingKey{raw, old}, single, true},
		{"none left", now.Add(time.Second), []signingKey{old}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok := signWith(t, test.now, "id", "1", nil, test.keys...)
			if ok != test.ok || len(got) < len(test.parts) || got[:len(test.parts)] != test.parts {
				t.Errorf("got %q %v", got, ok)
			}
			if test.now.After(now) && got != test.parts {
				t.Errorf("got %q, want %q", got, test.parts)
			}
		})
	}
}

// TestReferenceLibraryAccepts lets the standard's own library judge what we sign, and us judge what
// it signs.
func TestReferenceLibraryAccepts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	stamp := strconv.FormatInt(now.Unix(), 10)
	for _, size := range []int{1, 24, 32, 64, 100} {
		key := make([]byte, size)
		_, _ = rand.Read(key)
		secret := "whsec_" + base64.StdEncoding.EncodeToString(key)
		reference, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(`{"type":"loan.returned","data":{"title":"Ångström"}}`)
		signature, _ := signWith(t, now, "evt_1", stamp, body, keyOf(t, secret))
		header := http.Header{}
		header.Set("webhook-id", "evt_1")
		header.Set("webhook-timestamp", stamp)
		header.Set("webhook-signature", signature)
		if err := reference.Verify(body, header); err != nil {
			t.Errorf("%d-byte key: reference library: %v", size, err)
		}
		theirs, err := reference.Sign("evt_1", now, body)
		if err != nil || theirs != signature {
			t.Errorf("%d-byte key: reference signs %q (%v), we %q", size, theirs, err, signature)
		}
		if err := Verify(header, body, now, secret); err != nil {
			t.Errorf("%d-byte key: Verify: %v", size, err)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	at := time.Unix(1614265330, 0)
	const other = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, test := range []struct {
		name                     string
		id, timestamp, signature string
		body                     string
		now                      time.Time
		want                     error
	}{
		{"good", vectorID, vectorTimestamp, vectorSignature, vectorBody, at, nil},
		{"good among others", vectorID, vectorTimestamp, "v2,xyz " + other + " " + vectorSignature + " v1a,abc", vectorBody, at, nil},
		{"five minutes old", vectorID, vectorTimestamp, vectorSignature, vectorBody, at.Add(tolerance), nil},
		{"older", vectorID, vectorTimestamp, vectorSignature, vectorBody, at.Add(tolerance + time.Second), ErrBadTimestamp},
		{"from the future", vectorID, vectorTimestamp, vectorSignature, vectorBody, at.Add(-tolerance - time.Second), ErrBadTimestamp},
		{"no id", "", vectorTimestamp, vectorSignature, vectorBody, at, ErrNoSignature},
		{"no timestamp", vectorID, "", vectorSignature, vectorBody, at, ErrNoSignature},
		{"no signature", vectorID, vectorTimestamp, "", vectorBody, at, ErrNoSignature},
		{"timestamp is text", vectorID, "hello", vectorSignature, vectorBody, at, ErrBadTimestamp},
		{"empty signature", vectorID, vectorTimestamp, "v1,", vectorBody, at, ErrBadSignature},
		{"other version", vectorID, vectorTimestamp, "v2," + vectorSignature[3:], vectorBody, at, ErrBadSignature},
		{"other signature", vectorID, vectorTimestamp, other, vectorBody, at, ErrBadSignature},
		{"other body", vectorID, vectorTimestamp, vectorSignature, vectorBody + " ", at, ErrBadSignature},
		{"other id", "msg_x", vectorTimestamp, vectorSignature, vectorBody, at, ErrBadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			header.Set("webhook-id", test.id)
			header.Set("webhook-timestamp", test.timestamp)
			header.Set("webhook-signature", test.signature)
			if err := Verify(header, []byte(test.body), test.now, vectorSecret); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	t.Run("no secret", func(t *testing.T) {
		t.Parallel()
		header := http.Header{"Webhook-Id": {"a"}, "Webhook-Timestamp": {vectorTimestamp}, "Webhook-Signature": {"v1,"}}
		if err := Verify(header, nil, at); !errors.Is(err, ErrBadSignature) {
			t.Errorf("got %v", err)
		}
	})
}

// FuzzVerify reads headers and secrets of any text. What is signed is verified, and nothing else
// under that secret; a secret that cannot be read is not told.
func FuzzVerify(f *testing.F) {
	f.Add(vectorSecret, vectorID, vectorTimestamp, vectorSignature, "", vectorBody)
	f.Add("a plain secret of some length", "evt_1", "9223372036854775807", "v2,x v1, v1,", "", "{}")
	f.Add("whsec_!", "", "-1", " ", "x", "")
	f.Fuzz(func(t *testing.T, secret, id, timestamp, given, alma, body string) {
		now := time.Unix(1614265330, 0)
		header := http.Header{}
		header.Set("Webhook-Id", id)
		header.Set("Webhook-Timestamp", timestamp)
		header.Set("Webhook-Signature", given)
		header.Set("X-Exl-Signature", alma)
		err := VerifyAny(format.Products(), header, []byte(body), now, secret)
		key, unreadable := decodeSecret(secret)
		if unreadable != nil {
			if len(secret) > len("whsec_")+8 && strings.Contains(unreadable.Error(), secret) {
				t.Errorf("the error tells the secret: %v", unreadable)
			}
			return
		}
		signature, _ := signWith(t, now, id, timestamp, []byte(body), signingKey{key: key})
		if err == nil && alma == "" && !slices.Contains(strings.Split(given, " "), signature) {
			t.Errorf("%q was taken for %q", given, signature)
		}
		header.Del("X-Exl-Signature")
		header.Set("Webhook-Id", "evt_"+id)
		header.Set("Webhook-Timestamp", "1614265330")
		signature, _ = signWith(t, now, "evt_"+id, "1614265330", []byte(body), signingKey{key: key})
		header.Set("Webhook-Signature", given+" "+signature)
		if err := VerifyAny(format.Products(), header, []byte(body), now, secret); err != nil {
			t.Errorf("what was signed is refused: %v", err)
		}
	})
}

// TestGitHubSignature signs as GitHub documents it, with its own vector, by the first secret that
// is valid.
func TestGitHubSignature(t *testing.T) {
	t.Parallel()
	const want = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	secret, body := "It's a Secret to Everybody", "Hello, World!"
	var got http.Header
	server := receiver(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	cfg := profile(server.URL)
	cfg.Signature, cfg.Secret = "github", ""
	cfg.Secrets = []delivery.SecretConfig{{Secret: "gone", NotAfter: time.Now().Add(-time.Second)}, {Secret: secret}, {Secret: "next"}}
	s, _ := sender(t, cfg)
	if reply := s.Send(t.Context(), &delivery.Request{ID: "evt_1", Body: []byte(body)}); reply.Class != delivery.ClassOK {
		t.Fatalf("%+v", reply)
	}
	if value := got.Get("X-Hub-Signature-256"); value != want {
		t.Errorf("X-Hub-Signature-256 is %s, want %s", value, want)
	}
	if got.Get("Webhook-Signature") != "" || got.Get("Webhook-Id") != "evt_1" {
		t.Errorf("headers %v", got)
	}
	if err := VerifyAny(format.Products(), got, []byte(body), time.Now(), "other", secret); err != nil {
		t.Error(err)
	}
	if err := VerifyAny(format.Products(), got, []byte(body+" "), time.Now(), secret); !errors.Is(err, ErrBadSignature) {
		t.Errorf("another body: %v", err)
	}
}
