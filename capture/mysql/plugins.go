package mysql

import (
	"crypto/ed25519"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// parsecPlugin is MariaDB's login of 11.6 and later, which the libraries do not know.
const parsecPlugin = "parsec"

// authentication is our half of what a plugin of the server asks of us.
type authentication struct {
	credentials
	secure   bool   // nobody listens: TLS, or a Unix socket
	version  string // of the server
	plugin   string
	scramble []byte
}

// pluginError says that an account's login is of a kind that rowhook does not know.
type pluginError struct{ plugin string }

func (e *pluginError) Error() string {
	return fmt.Sprintf("the account's login wants the plugin %q, which rowhook does not know", e.plugin)
}

// errMalformed says that a plugin said something else than it does.
var errMalformed = errors.New("log in: the server's plugin says something unexpected")

// begin takes a plugin and its scramble, and returns the first answer.
func (a *authentication) begin(plugin string, scramble []byte) ([]byte, error) {
	// Most plugins' scramble has a 0 behind it.
	if len(scramble) == 21 && scramble[20] == 0 {
		scramble = scramble[:20]
	}
	a.plugin, a.scramble = plugin, append([]byte(nil), scramble...)
	size := 20
	if plugin == gomysql.AUTH_MARIADB_ED25519 || plugin == parsecPlugin {
		size = 32
	}
	switch plugin {
	case gomysql.AUTH_NATIVE_PASSWORD, gomysql.AUTH_CACHING_SHA2_PASSWORD, gomysql.AUTH_SHA256_PASSWORD, gomysql.AUTH_MARIADB_ED25519, parsecPlugin:
		if len(scramble) != size {
			return nil, errMalformed
		}
	}
	switch plugin {
	case gomysql.AUTH_NATIVE_PASSWORD:
		return gomysql.CalcNativePassword(a.scramble, []byte(a.password)), nil
	case gomysql.AUTH_CACHING_SHA2_PASSWORD:
		return gomysql.CalcCachingSha2Password(a.scramble, []byte(a.password)), nil
	case gomysql.AUTH_SHA256_PASSWORD:
		switch {
		case a.password == "":
			return []byte{0}, nil
		case a.encryption != nil: // over a Unix socket it wants the password encrypted
			return a.clear(), nil
		}
		return []byte{1}, nil // which asks for the server's key
	case gomysql.AUTH_MARIADB_ED25519:
		return gomysql.CalcEd25519Password(a.scramble, a.password)
	case parsecPlugin:
		return nil, nil // an empty packet asks for the salt
	}
	remedy := fmt.Sprintf("ALTER USER %s IDENTIFIED WITH caching_sha2_password BY 'PASSWORD';", account(a.user))
	if isMariaDB(a.version) {
		remedy = fmt.Sprintf("ALTER USER %s IDENTIFIED VIA mysql_native_password USING PASSWORD('PASSWORD');", account(a.user))
	}
	return nil, &capture.OperatorError{Err: &pluginError{plugin}, Remedy: remedy + " with source.password in the place of PASSWORD"}
}

// next answers what a plugin says after the first answer. silent means that it wants no answer.
func (a *authentication) next(data []byte) (answer []byte, silent bool, err error) {
	const (
		sha2Fast, sha2Full = 3, 4
		sha2Key            = 2 // asks for the server's key
	)
	switch a.plugin {
	case gomysql.AUTH_CACHING_SHA2_PASSWORD:
		switch {
		case len(data) == 1 && data[0] == sha2Fast:
			return nil, true, nil
		case len(data) == 1 && data[0] == sha2Full && a.secure:
			return a.clear(), false, nil
		case len(data) == 1 && data[0] == sha2Full:
			return []byte{sha2Key}, false, nil
		}
		answer, err = a.encrypted(data)
	case gomysql.AUTH_SHA256_PASSWORD:
		answer, err = a.encrypted(data)
	case parsecPlugin:
		answer, err = a.signed(data)
	default:
		err = errMalformed
	}
	return answer, false, err
}

// clear is the password as it is.
func (a *authentication) clear() []byte { return append([]byte(a.password), 0) }

// encrypted is the password encrypted for the server's public key.
func (a *authentication) encrypted(key []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errMalformed
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("log in: the server's public key: %w", err)
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errMalformed
	}
	return gomysql.EncryptPassword(a.password, a.scramble, public)
}

// Of parsec: P for PBKDF2, then the iterations as a power of 2, then the salt.
const (
	parsecPBKDF2     = 'P'
	parsecIterations = 1024
	// parsecMost bounds the power, as MariaDB's own client does: the server's word decides how long
	// we compute.
	parsecMost = 3
	nonceSize  = 32
)

// signed is parsec's answer to a salt: a scramble of ours, and both scrambles signed with the key
// that the password makes.
func (a *authentication) signed(salt []byte) ([]byte, error) {
	if len(salt) < 3 || salt[0] != parsecPBKDF2 || salt[1] > parsecMost {
		return nil, errMalformed
	}
	seed, err := pbkdf2.Key(sha512.New, a.password, salt[2:], parsecIterations<<salt[1], ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	answer := make([]byte, nonceSize, nonceSize+ed25519.SignatureSize)
	_, _ = rand.Read(answer) // it never fails
	signed := append(append([]byte(nil), a.scramble...), answer...)
	return append(answer, ed25519.Sign(ed25519.NewKeyFromSeed(seed), signed)...), nil
}
