package delivery

// HTTPConfig is how a profile's requests travel. Keys are named as in Prometheus' http_config.
type HTTPConfig struct {
	BasicAuth     BasicAuthConfig     `yaml:"basic_auth" doc:"user name and password"`
	Authorization AuthorizationConfig `yaml:"authorization" doc:"an authorization header"`
	OAuth2        OAuth2Config        `yaml:"oauth2" doc:"an access token by the client credentials grant"`
	TLS           TLSConfig           `yaml:"tls_config" doc:"which certificates are trusted and shown"`
	ProxyURL      string              `yaml:"proxy_url" doc:"HTTP proxy; its own address is held to allow_networks"`
	HTTP2         bool                `yaml:"http2" doc:"speak HTTP/2 where the endpoint does: all requests then share one connection"`
	Gzip          bool                `yaml:"gzip" doc:"compress bodies; what is signed is the body before"`
}

// BasicAuthConfig is a user name and password.
type BasicAuthConfig struct {
	Username     string `yaml:"username" doc:"the user's name"`
	Password     string `yaml:"password" doc:"the password"`
	PasswordFile string `yaml:"password_file" path:"file" doc:"file that holds the password"`
}

// AuthorizationConfig is an authorization header.
type AuthorizationConfig struct {
	Type            string `yaml:"type" doc:"the scheme; default Bearer"`
	Credentials     string `yaml:"credentials" doc:"what follows the scheme"`
	CredentialsFile string `yaml:"credentials_file" path:"file" doc:"file that holds it"`
}

// OAuth2Config gets an access token by the client credentials grant.
type OAuth2Config struct {
	ClientID         string         `yaml:"client_id" doc:"the client's id"`
	ClientSecret     string         `yaml:"client_secret" doc:"the client's secret"`
	ClientSecretFile string         `yaml:"client_secret_file" path:"file" doc:"file that holds it"`
	TokenURL         string         `yaml:"token_url" doc:"where tokens come from; held to allow_networks, by the same proxy and TLS settings"`
	Scopes           []string       `yaml:"scopes,oneormany" doc:"scopes to ask for"`
	EndpointParams   []HeaderConfig `yaml:"endpoint_params" doc:"further parameters of the token request"`
}

// TLSConfig says which certificates are trusted and shown. Verification cannot be turned off.
type TLSConfig struct {
	CA         string `yaml:"ca" public:"true" doc:"certificates in PEM of the authorities to trust instead of the system's"`
	CAFile     string `yaml:"ca_file" path:"file" doc:"file that holds them"`
	Cert       string `yaml:"cert" public:"true" doc:"client certificate in PEM"`
	CertFile   string `yaml:"cert_file" path:"file" doc:"file that holds it"`
	Key        string `yaml:"key" doc:"the client certificate's key in PEM"`
	KeyFile    string `yaml:"key_file" path:"file" doc:"file that holds it"`
	ServerName string `yaml:"server_name" doc:"name that the endpoint's certificate must have; default: the URL's host"`

	InsecureSkipVerify bool `yaml:"insecure_skip_verify" doc:"true is refused: ca_file names an authority of your own to trust"`
}
