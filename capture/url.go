package capture

import (
	"errors"
	"strings"
)

// CheckURL refuses a database's URL whose user or password holds a character that ends it there:
// what follows would be taken for the host or the database, shown in errors and asked of DNS. The
// error quotes nothing of it.
func CheckURL(raw string) error {
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	path, query, _ := strings.Cut(tail, "?")
	first, _, _ := strings.Cut(query, "=")
	switch {
	case strings.Count(authority, "@") > 1, strings.Contains(path, "@"), strings.Contains(first, "@"), strings.Contains(tail, "#"):
		return errRawPassword
	case !strings.Contains(authority, "@") && strings.Contains(tail, "@") && strings.Contains(authority, ":") && !portLike(authority):
		return errRawPassword
	}
	return nil
}

// portLike reports whether each host of the list ends in a port, or has none.
func portLike(hosts string) bool {
	for host := range strings.SplitSeq(hosts, ",") {
		if i := strings.LastIndexByte(host, ']'); i >= 0 {
			host = host[i:]
		}
		if _, port, ok := strings.Cut(host, ":"); ok && strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	return true
}

// errRawPassword is the error of [CheckURL].
var errRawPassword = errors.New("the user, the password or the database holds @, /, ? or # as it is: percent-encode it (%40 %2F %3F %23), or use password_file")
