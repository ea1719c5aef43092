package draft

import (
	"errors"
	"net/url"
	"strings"
)

// The kinds of sources, as source.type has them.
const (
	Postgres = "postgres"
	MySQL    = "mysql" // and MariaDB
)

// Kind returns the source.type of a database's URL; empty where its scheme is none that is known.
func Kind(raw string) string {
	scheme, _, _ := strings.Cut(raw, "://")
	switch scheme {
	case "postgres", "postgresql":
		return Postgres
	case "mysql", "mariadb":
		return MySQL
	}
	return ""
}

// TakePassword takes the password out of a database's URL, which capture.CheckURL has passed. One
// that refers to variables stays where it is: it is no secret as it is written.
func TakePassword(raw string) (rest, password string, err error) {
	scheme, after, _ := strings.Cut(raw, "://")
	end := strings.IndexAny(after, "/?")
	if end < 0 {
		end = len(after)
	}
	authority, tail := after[:end], after[end:]
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		name, secret, given := strings.Cut(authority[:at], ":")
		if given && !strings.Contains(secret, "${") {
			if password, err = url.PathUnescape(secret); err != nil {
				return "", "", errors.New("the password is not percent-encoded: a % in it is written %25")
			}
			authority = name + authority[at:]
		}
	}
	path, query, asked := strings.Cut(tail, "?")
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		key, secret, _ := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case strings.Contains(secret, "${"):
			kept = append(kept, pair)
		case key == "sslpassword":
			return "", "", errors.New("sslpassword would stand in the config in the clear: refer to a variable, as in sslpassword=${NAME}")
		case key == "password":
			if password, err = url.QueryUnescape(secret); err != nil {
				return "", "", errors.New("the password is not percent-encoded: a % in it is written %25")
			}
		default:
			kept = append(kept, pair)
		}
	}
	if tail = path; asked && len(kept) > 0 {
		tail += "?" + strings.Join(kept, "&")
	}
	return scheme + "://" + authority + tail, password, nil
}
