package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"rowhook/capture"
)

// address is the configured URL taken apart:
// mysql://user:password@host:port,host:port/database?tls=verify&ca=FILE&cert=FILE&key=FILE&socket=PATH.
type address struct {
	user, password string
	hosts          []host
	database       string
	tlsMode        string // verify, skip-verify, off; empty: verify but on this machine
	roots          *x509.CertPool
	certificates   []tls.Certificate
}

// host is one server: a name and port, or the path of a Unix socket.
type host struct {
	name string
	port uint16
}

func (h host) socket() bool { return strings.HasPrefix(h.name, "/") }

// String is "host:port", or the socket's path.
func (h host) String() string {
	if h.socket() {
		return h.name
	}
	return net.JoinHostPort(h.name, strconv.Itoa(int(h.port)))
}

// local says that a connection does not leave this machine.
func (h host) local() bool {
	ip := net.ParseIP(h.name)
	return h.socket() || h.name == "localhost" || ip != nil && ip.IsLoopback()
}

const defaultPort = 3306

// parseAddress reads the URL. Its errors never hold the password.
func parseAddress(raw string) (address, error) {
	if err := capture.CheckURL(raw); err != nil {
		return address{}, err
	}
	// Several hosts are not a URL's, so the list is cut out before the rest is parsed.
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || scheme != "mysql" && scheme != "mariadb" {
		return address{}, errors.New("it has to begin with mysql://")
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		end = i
	}
	authority := rest[:end]
	from := strings.LastIndexByte(authority, '@') + 1
	u, err := url.Parse("mysql://" + authority[:from] + "host" + rest[end:])
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without the URL
		}
		return address{}, fmt.Errorf("the part beside the hosts is malformed: %w", err)
	}
	a := address{user: u.User.Username(), database: strings.TrimPrefix(u.Path, "/")}
	a.password, _ = u.User.Password()
	if err := a.parameters(u.Query()); err != nil {
		return address{}, err
	}
	if len(a.hosts) == 0 {
		if a.hosts, err = parseHosts(authority[from:]); err != nil {
			return address{}, err
		}
	}
	if a.user == "" {
		return address{}, errors.New("it names no user")
	}
	return a, nil
}

func parseHosts(list string) ([]host, error) {
	var hosts []host
	for item := range strings.SplitSeq(list, ",") {
		h := host{name: strings.Trim(item, "[]"), port: defaultPort}
		if name, port, err := net.SplitHostPort(item); err == nil {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("%q is no port", port)
			}
			h = host{name, uint16(n)}
		}
		if h.name == "" {
			h.name = "127.0.0.1"
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

func (a *address) parameters(q url.Values) error {
	for key := range q {
		value := q.Get(key)
		switch key {
		case "tls":
			if value != "verify" && value != "skip-verify" && value != "off" {
				return fmt.Errorf("tls=%s is not verify, skip-verify or off", value)
			}
			a.tlsMode = value
		case "socket":
			if !strings.HasPrefix(value, "/") {
				return errors.New("socket needs an absolute path")
			}
			a.hosts = []host{{name: value}}
		case "ca":
			pem, err := os.ReadFile(value)
			if err != nil {
				return fmt.Errorf("ca: %w", err)
			}
			if a.roots = x509.NewCertPool(); !a.roots.AppendCertsFromPEM(pem) {
				return fmt.Errorf("ca: %s holds no certificate", value)
			}
		case "cert", "key":
			pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
			if err != nil {
				return fmt.Errorf("cert and key: %w", err)
			}
			a.certificates = []tls.Certificate{pair}
		default:
			return fmt.Errorf("%q is no parameter; tls, ca, cert, key and socket are", key)
		}
	}
	return nil
}

// tlsFor returns how to encrypt a connection to the host; nil is not at all.
func (a *address) tlsFor(h host) *tls.Config {
	mode := a.tlsMode
	if mode == "off" || h.socket() || mode == "" && h.local() {
		return nil
	}
	return &tls.Config{ServerName: h.name, RootCAs: a.roots, Certificates: a.certificates,
		InsecureSkipVerify: mode == "skip-verify", MinVersion: tls.VersionTLS12}
}
