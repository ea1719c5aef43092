package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"rowhook/delivery"
)

// tokenMargin is how long before its end a token is replaced.
const tokenMargin = 30 * time.Second

// tokens gets access tokens for a profile's requests and keeps the last one until it ends or is
// refused. It is safe for concurrent use: while one request asks for a token, the others wait for
// it.
type tokens struct {
	config clientcredentials.Config
	host   string
	client *http.Client // set by New

	asking chan struct{} // holds one value while nobody asks

	mu    sync.Mutex
	token string
	until time.Time // zero: without end
}

func newTokens(o *delivery.OAuth2Config, u *url.URL, params url.Values) *tokens {
	t := &tokens{host: u.Host, asking: make(chan struct{}, 1), config: clientcredentials.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes, EndpointParams: params,
	}}
	t.asking <- struct{}{}
	return t
}

// header returns the value of the authorization header. After refused, which was such a value,
// another one is got.
func (t *tokens) header(ctx context.Context, refused string) (string, error) {
	if token := t.kept(refused); token != "" {
		return token, nil
	}
	select {
	case <-t.asking:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { t.asking <- struct{}{} }()
	if token := t.kept(refused); token != "" { // somebody else got it meanwhile
		return token, nil
	}
	token, err := t.config.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	if err != nil {
		return "", &tokenError{host: t.host, err: err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.until = token.Type()+" "+token.AccessToken, token.Expiry
	return t.token, nil
}

func (t *tokens) kept(refused string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == refused || !t.until.IsZero() && time.Until(t.until) < tokenMargin {
		return ""
	}
	return t.token
}

// last is the authorization header's value that was got last, "" before.
func (t *tokens) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token
}

// tokenError says why there is no token. The library's text may hold the reply, and so is not
// shown.
type tokenError struct {
	host string
	err  error
}

func (e *tokenError) Error() string {
	var reply *oauth2.RetrieveError
	if errors.As(e.err, &reply) && reply.Response != nil {
		return fmt.Sprintf("the token endpoint %s answered %d", e.host, reply.Response.StatusCode)
	}
	return "no token from " + e.host
}

func (e *tokenError) Unwrap() error { return e.err }

// lasting reports whether the token endpoint refuses what the profile's config says, so that a
// person has to fix it.
func (e *tokenError) lasting() bool {
	var reply *oauth2.RetrieveError
	return errors.As(e.err, &reply) && reply.Response != nil && reply.Response.StatusCode >= 400 && reply.Response.StatusCode < 500 &&
		reply.Response.StatusCode != http.StatusTooManyRequests && reply.Response.StatusCode != http.StatusRequestTimeout
}
