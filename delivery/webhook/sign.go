package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"rowhook/delivery"
)

// signaturePrefix is the version of HMAC-SHA256 signatures in Standard Webhooks 1.0.0.
const signaturePrefix = "v1,"

// tolerance is how far a request's timestamp may be from the receiver's clock.
const tolerance = 5 * time.Minute

// signingKey is one secret of a profile.
type signingKey struct {
	key      []byte
	notAfter time.Time // zero: for ever
}

func (k *signingKey) valid(now time.Time) bool {
	return k.notAfter.IsZero() || !now.After(k.notAfter)
}

// decodeSecret returns the key of a secret: whsec_ and standard base64, or else its bytes as they are.
func decodeSecret(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, errors.New("a secret that begins with whsec_ must go on with standard base64")
	}
	return key, nil
}

// signer signs with all keys of a profile. It keeps the keyed hashes between requests, and is not
// safe for concurrent use.
type signer struct {
	keys []signingKey
	macs []hash.Hash
	text []byte
	sum  []byte
}

func newSigner(keys []signingKey) *signer {
	s := &signer{keys: keys}
	for i := range keys {
		s.macs = append(s.macs, hmac.New(sha256.New, keys[i].key))
	}
	return s
}

// signAlma returns the X-Exl-Signature header's value, by the first key that is valid now, and false when none is. Only the body is
// signed.
func (s *signer) signAlma(body []byte, now time.Time) (string, bool) {
	for i, mac := range s.macs {
		if s.keys[i].valid(now) {
			mac.Reset()
			mac.Write(body)
			s.sum = mac.Sum(s.sum[:0])
			return base64.StdEncoding.EncodeToString(s.sum), true
		}
	}
	return "", false
}

// signAlmaStream is signAlma for a body that is written anew.
func (s *signer) signAlmaStream(body *delivery.Stream, now time.Time) (signature string, ok bool, err error) {
	for i, mac := range s.macs {
		if s.keys[i].valid(now) {
			mac.Reset()
			if err := body.Write(mac); err != nil {
				return "", false, fmt.Errorf("sign body: %w", err)
			}
			s.sum = mac.Sum(s.sum[:0])
			return base64.StdEncoding.EncodeToString(s.sum), true, nil
		}
	}
	return "", false, nil
}

// sign returns the webhook-signature header's value: one signature for each key that is valid now, and false
// when none is.
func (s *signer) sign(id, timestamp string, body []byte, now time.Time) (string, bool) {
	head := s.begin(id, timestamp)
	for i, mac := range s.macs {
		if s.keys[i].valid(now) {
			s.reset(mac, head)
			mac.Write(body)
			s.add(mac, head)
		}
	}
	return string(s.text[head:]), len(s.text) > head
}

// signStream is sign for a body that is written anew for each key.
func (s *signer) signStream(id, timestamp string, body *delivery.Stream, now time.Time) (signature string, ok bool, err error) {
	head := s.begin(id, timestamp)
	for i, mac := range s.macs {
		if !s.keys[i].valid(now) {
			continue
		}
		s.reset(mac, head)
		if err := body.Write(mac); err != nil {
			return "", false, fmt.Errorf("sign body: %w", err)
		}
		s.add(mac, head)
	}
	return string(s.text[head:]), len(s.text) > head, nil
}

// begin writes what is signed before the body into text, and returns its length.
func (s *signer) begin(id, timestamp string) int {
	s.text = append(append(append(append(s.text[:0], id...), '.'), timestamp...), '.')
	return len(s.text)
}

func (s *signer) reset(mac hash.Hash, head int) {
	mac.Reset()
	mac.Write(s.text[:head])
}

// add appends a signature to text.
func (s *signer) add(mac hash.Hash, head int) {
	s.sum = mac.Sum(s.sum[:0])
	if len(s.text) > head {
		s.text = append(s.text, ' ')
	}
	s.text = append(s.text, signaturePrefix...)
	s.text = base64.StdEncoding.AppendEncode(s.text, s.sum)
}

// almaSignature is the header of Alma's signatures. It goes out in this case.
const almaSignature = "X-Exl-Signature"

// Errors of [Verify].
var (
	ErrNoSignature  = errors.New("webhook-id, webhook-timestamp or webhook-signature is missing")
	ErrBadTimestamp = errors.New("webhook-timestamp is not a unix time within five minutes of now")
	ErrBadSignature = errors.New("no signature matches the secret")
)

// Verify checks a received request as a receiver does: its timestamp is within five minutes of now, and one of its signatures
// is the body's under one of the secrets. It returns one of this package's errors, or one about a secret that cannot be read.
// A request that has Alma's signature instead is held to that, which knows no time.
func Verify(header http.Header, body []byte, now time.Time, secrets ...string) error {
	if given := header.Get(almaSignature); given != "" && header.Get("Webhook-Signature") == "" {
		return verifyAlma(given, body, secrets)
	}
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	given := header.Get("Webhook-Signature")
	if id == "" || timestamp == "" || given == "" {
		return ErrNoSignature
	}
	unix, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(unix, 0)).Abs() > tolerance {
		return ErrBadTimestamp
	}
	keys := make([]signingKey, len(secrets))
	for i, secret := range secrets {
		if keys[i].key, err = decodeSecret(secret); err != nil {
			return fmt.Errorf("verify request: %w", err)
		}
	}
	wanted, _ := newSigner(keys).sign(id, timestamp, body, now)
	for one := range strings.SplitSeq(given, " ") {
		for want := range strings.SplitSeq(wanted, " ") {
			if want != "" && hmac.Equal([]byte(one), []byte(want)) {
				return nil
			}
		}
	}
	return ErrBadSignature
}

func verifyAlma(given string, body []byte, secrets []string) error {
	for _, secret := range secrets {
		want, _ := newSigner([]signingKey{{key: []byte(secret)}}).signAlma(body, time.Time{})
		if hmac.Equal([]byte(given), []byte(want)) {
			return nil
		}
	}
	return ErrBadSignature
}
