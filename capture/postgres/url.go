package postgres

import (
	"errors"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// parseURL reads a connection URL (or a line of keywords and values). Where it does not say by
// which rules TLS is spoken, addresses that are not this machine's are verified: a server that
// declines TLS would be given the password in the clear otherwise. asked says that the URL, or
// PGSSLMODE, has a mode.
func parseURL(raw string) (config *pgx.ConnConfig, asked bool, err error) {
	if err := capture.CheckURL(raw); err != nil {
		return nil, false, err
	}
	address := strings.HasPrefix(raw, "postgres://") || strings.HasPrefix(raw, "postgresql://")
	if address {
		u, err := url.Parse(hostless(raw))
		if err != nil {
			return nil, false, errURL
		}
		asked = u.Query().Has("sslmode")
	} else {
		asked = sslmodeKeyword.MatchString(raw)
	}
	asked = asked || os.Getenv("PGSSLMODE") != ""
	if config, err = pgx.ParseConfig(raw); err != nil || asked || onThisMachine(config) {
		return config, asked, err
	}
	verified := raw + " sslmode=verify-full"
	if address {
		separator := "?"
		if strings.Contains(raw, "?") {
			separator = "&"
		}
		verified = raw + separator + "sslmode=verify-full"
	}
	config, err = pgx.ParseConfig(verified)
	return config, false, err
}

var (
	sslmodeKeyword = regexp.MustCompile(`\bsslmode\s*=`)
	// errURL quotes nothing of the URL, which may be part of a password.
	errURL = errors.New("it is malformed: it has to be postgres://user@host:port/database, with % @ / : ? # in user and password written as %25 %40 %2F %3A %3F %23")
)

// hostless takes the hosts out of a URL, which may be several and so no URL's.
func hostless(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	end := len(rest)
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		end = i
	}
	return scheme + "://" + rest[:strings.LastIndexByte(rest[:end], '@')+1] + "host" + rest[end:]
}

// onThisMachine reports whether none of the connection's addresses leaves this machine.
func onThisMachine(config *pgx.ConnConfig) bool {
	if !local(config.Host) {
		return false
	}
	for _, f := range config.Fallbacks {
		if !local(f.Host) {
			return false
		}
	}
	return true
}

// local reports whether a host is this machine: a socket's directory, localhost, or an address of
// its own.
func local(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" || host == "" {
		return true
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if own, ok := a.(*net.IPNet); ok && own.IP.Equal(ip) {
			return true
		}
	}
	return false
}

// sslModes are what sslmode may say.
const sslModes = "sslmode is one of disable, allow, prefer, require, verify-ca, verify-full"
