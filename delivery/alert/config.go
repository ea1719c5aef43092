package alert

import (
	"fmt"
	"net/mail"
	"strings"

	"rowhook/delivery"
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

// Validate says what cannot work. Each error has a ConfigPath and a remedy.
func (c *Config) Validate() error {
	wrong := delivery.ErrorsAt("alerts", "smtp")
	s := &c.SMTP
	if s.Host == "" {
		if *s != (SMTPConfig{TLS: s.TLS}) {
			wrong.Add("missing; mails need a server", "write its name, such as mail.example.org", "host")
		}
		return wrong.Err()
	}
	if s.Port < 0 || s.Port > 65535 {
		wrong.Add(fmt.Sprintf("%d is no port", s.Port), "write 587, 465 or 25", "port")
	}
	if at, err := mail.ParseAddress(s.From); err != nil {
		wrong.Add("mails need a sender", "write an address such as rowhook@example.org", "from")
	} else if strings.ContainsAny(at.Address, "\r\n") {
		wrong.Add("this is not a mail address", "write an address such as rowhook@example.org", "from")
	}
	if s.Username != "" && s.Password == "" {
		wrong.Add("a login needs a password", "give password_file or password", "username")
	}
	if s.TLS == "none" && s.Username != "" {
		wrong.Add("a password would be sent in the clear", "use starttls or implicit", "tls")
	}
	return wrong.Err()
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
