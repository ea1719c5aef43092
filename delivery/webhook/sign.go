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

// decodeSecret returns the key of a secret: whsec_ and standard base64, or else its bytes as they
// are.
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

// standardHeader carries signatures of Standard Webhooks, which sign id and time as well: one for
// each key. A product's own signature, a [delivery.Signature], is of the body alone.
const standardHeader = "Webhook-Signature"

// signer signs with all keys of a profile. It keeps the keyed hashes between requests, and is not
// safe for concurrent use.
type signer struct {
	own  *delivery.Signature // a product's; nil for Standard Webhooks
	keys []signingKey
	macs []hash.Hash
	text []byte
	sum  []byte
}

func newSigner(own *delivery.Signature, keys []signingKey) *signer {
	s := &signer{own: own, keys: keys}
	for i := range keys {
		s.macs = append(s.macs, hmac.New(sha256.New, keys[i].key))
	}
	return s
}

// sign returns the signature header's value for a body of bytes, or for one that is written anew
// for each key when stream is not nil. It reports false when no key is valid now.
func (s *signer) sign(id, timestamp string, body []byte, stream *delivery.Stream, now time.Time) (signature string, ok bool, err error) {
	s.text = s.text[:0]
	if s.own == nil {
		s.text = append(append(append(append(s.text, id...), '.'), timestamp...), '.')
	}
	head := len(s.text)
	for i, mac := range s.macs {
		if !s.keys[i].valid(now) {
			continue
		}
		mac.Reset()
		mac.Write(s.text[:head])
		if stream == nil {
			mac.Write(body)
		} else if err := stream.Write(mac); err != nil {
			return "", false, fmt.Errorf("sign body: %w", err)
		}
		s.sum = mac.Sum(s.sum[:0])
		if s.own != nil {
			s.text = s.own.Encode(s.text, s.sum)
			break
		}
		s.add(head)
	}
	return string(s.text[head:]), len(s.text) > head, nil
}

// add appends a standard signature to text.
func (s *signer) add(head int) {
	if len(s.text) > head {
		s.text = append(s.text, ' ')
	}
	s.text = append(s.text, signaturePrefix...)
	s.text = base64.StdEncoding.AppendEncode(s.text, s.sum)
}

// Errors of [Verify].
var (
	ErrNoSignature  = errors.New("webhook-id, webhook-timestamp or webhook-signature is missing")
	ErrBadTimestamp = errors.New("webhook-timestamp is not a unix time within five minutes of now")
	ErrBadSignature = errors.New("no signature matches the secret")
)

// VerifyAny is [Verify], but holds a request that has the signature of a product instead to that,
// which knows no time.
func VerifyAny(products delivery.Products, header http.Header, body []byte, now time.Time, secrets ...string) error {
	if header.Get(standardHeader) == "" {
		for own := range products.Signatures() {
			if given := header.Get(own.Header); given != "" {
				return verifyBody(own, given, body, secrets)
			}
		}
	}
	return Verify(header, body, now, secrets...)
}

// Verify checks a received request as a receiver does: its timestamp is within five minutes of now,
// and one of its signatures is the body's under one of the secrets. It returns one of this
// package's errors, or one about a secret that cannot be read.
func Verify(header http.Header, body []byte, now time.Time, secrets ...string) error {
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	given := header.Get(standardHeader)
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
	wanted, _, _ := newSigner(nil, keys).sign(id, timestamp, body, nil, now) // no stream, no error
	for one := range strings.SplitSeq(given, " ") {
		for want := range strings.SplitSeq(wanted, " ") {
			if want != "" && hmac.Equal([]byte(one), []byte(want)) {
				return nil
			}
		}
	}
	return ErrBadSignature
}

func verifyBody(own *delivery.Signature, given string, body []byte, secrets []string) error {
	for _, secret := range secrets {
		want, _, _ := newSigner(own, []signingKey{{key: []byte(secret)}}).sign("", "", body, nil, time.Time{}) // no stream, no error
		if hmac.Equal([]byte(given), []byte(want)) {
			return nil
		}
	}
	return ErrBadSignature
}
