package alert

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
)

// Config is the config's `alerts` section.
type Config struct {
	SMTP SMTPConfig `yaml:"smtp" doc:"the mail server; without a host no mail is sent"`
}

// SMTPConfig is the server that takes the mails.
type SMTPConfig struct {
	Host         string `yaml:"host" doc:"the server's name"`
	Port         int    `yaml:"port" doc:"587; 465 for tls: implicit, 25 for tls: none"`
	TLS          string `yaml:"tls" enum:"starttls,implicit,none" doc:"starttls and implicit verify the server's certificate; none sends in the clear"`
	CAFile       string `yaml:"ca_file" path:"file" doc:"certificates (PEM) that the server's is verified with; default: the system's"`
	Username     string `yaml:"username" doc:"login; none is made without it"`
	Password     string `yaml:"password" doc:"its password"`
	PasswordFile string `yaml:"password_file" path:"file" doc:"file that holds the password"`
	From         string `yaml:"from" doc:"the mails' sender"`
}

// DefaultConfig is the section before the file is read.
func DefaultConfig() Config { return Config{SMTP: SMTPConfig{TLS: "starttls"}} }

// Enabled reports whether mails are sent at all.
func (c *Config) Enabled() bool { return c.SMTP.Host != "" }

// configError is a value that cannot work.
type configError struct {
	path       []string
	text, hint string
}

func (e *configError) Error() string { return strings.Join(e.path, ".") + ": " + e.text }

// ConfigPath leads to the value from the top of the config.
func (e *configError) ConfigPath() []string { return e.path }

// Hint says what would work.
func (e *configError) Hint() string { return e.hint }

// Validate says what cannot work. Each error has a ConfigPath and a Hint.
func (c *Config) Validate() error {
	var found []error
	wrong := func(text, hint, key string) {
		found = append(found, &configError{path: []string{"alerts", "smtp", key}, text: text, hint: hint})
	}
	s := &c.SMTP
	if s.Host == "" {
		if *s != (SMTPConfig{TLS: s.TLS}) {
			wrong("missing; mails need a server", "write its name, such as mail.example.org", "host")
		}
		return errors.Join(found...)
	}
	if s.Port < 0 || s.Port > 65535 {
		wrong(fmt.Sprintf("%d is no port", s.Port), "write 587, 465 or 25", "port")
	}
	if at, err := mail.ParseAddress(s.From); err != nil {
		wrong("mails need a sender", "write an address such as rowhook@example.org", "from")
	} else if strings.ContainsAny(at.Address, "\r\n") {
		wrong("this is not a mail address", "write an address such as rowhook@example.org", "from")
	}
	if s.Username != "" && s.Password == "" {
		wrong("a login needs a password", "give password_file or password", "username")
	}
	if s.TLS == "none" && s.Username != "" {
		wrong("a password would be sent in the clear", "use starttls or implicit", "tls")
	}
	return errors.Join(found...)
}

// port is the one to connect to.
func (s *SMTPConfig) port() int {
	switch {
	case s.Port != 0:
		return s.Port
	case s.TLS == "implicit":
		return 465
	case s.TLS == "none":
		return 25
	}
	return 587
}
