package capture

import (
	"strings"
	"testing"
)

// A password that ends early would be shown in pieces, and asked of DNS as a host.
func TestCheckURLRefusesRawPasswords(t *testing.T) {
	t.Parallel()
	for raw, refused := range map[string]bool{
		"postgres://rowhook@db/shop":                             false,
		"postgres://rowhook:secret@db:5432/shop?sslmode=disable": false,
		"postgres://rowhook:p%40ss%2Fw@a:1,b:2/shop":             false,
		"postgres://rowhook@[::1]:5432/shop":                     false,
		"postgres://[::1]:5432/shop?application_name=me@home":    false,
		"postgres:///shop?host=/var/run&user=me":                 false,
		"host=db user=rowhook password=p@ss/w":                   false, // keywords and values need no encoding
		"mysql://rowhook:secret@db/shop?tls=verify":              false,
		"postgres://rowhook:p@ss@db:5432/shop":                   true,
		"postgres://rowhook:p@ss/w@db:5432/shop":                 true,
		"postgres://rowhook:p/w@db:5432/shop":                    true,
		"postgres://rowhook:12/34@db:5432/shop":                  true,
		"postgres://rowhook:p?w@db:5432/shop":                    true,
		"postgres://rowhook:12?w@db:5432/shop":                   true,
		"postgres://rowhook:p#w@db:5432/shop":                    true,
		"mysql://rowhook:p@ss@db/shop":                           true,
		"mysql://rowhook:pa/ss@db:3306":                          true,
	} {
		err := CheckURL(raw)
		if (err != nil) != refused {
			t.Errorf("%s: %v, want it refused: %t", raw, err, refused)
		}
		if err != nil && strings.Contains(err.Error(), "ss") && strings.Contains(err.Error(), "p@") {
			t.Errorf("the error quotes the password: %v", err)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	f.Add("postgres://rowhook:p@ss@db:5432/shop?sslmode=disable")
	f.Add("mysql://[::1],a:b@c/d#e?f=@")
	f.Fuzz(func(t *testing.T, raw string) {
		if err := CheckURL(raw); err != nil && err != errRawPassword {
			t.Errorf("%q: %v", raw, err)
		}
	})
}
