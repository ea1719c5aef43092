package config

import (
	"slices"
	"strings"
	"testing"
)

func TestExpandEnv(t *testing.T) {
	t.Parallel()
	variables := env(map[string]string{
		"NAME": "desk", "EMPTY": "", "TOKEN": "a/b c@ü", "BASE": "https://desk.example.org", "DOLLAR": "${NAME}",
	})
	for _, test := range []struct {
		name, text string
		url        bool
		want       string
		values     []string
		err        string
	}{
		{name: "nothing to do", text: "plain text", want: "plain text"},
		{name: "variable", text: "${NAME}", want: "desk", values: []string{"desk"}},
		{name: "several", text: "<${NAME}-${NAME}>", want: "<desk-desk>", values: []string{"desk", "desk"}},
		{name: "empty is set", text: "a${EMPTY}b", want: "ab"},
		{name: "default not needed", text: "${NAME:-other}", want: "desk", values: []string{"desk"}},
		{name: "default", text: "${UNSET:-other}", want: "other", values: []string{"other"}},
		{name: "default of an empty one", text: "${EMPTY:-other}", want: "other", values: []string{"other"}},
		{name: "empty default", text: "${UNSET:-}", want: ""},
		{name: "dollars", text: "$$ $${NAME} $NAME 5$", want: "$ ${NAME} $NAME 5$"},
		{name: "values are not expanded again", text: "${DOLLAR}", want: "${NAME}", values: []string{"${NAME}"}},
		{name: "in a URL", text: "https://x.example.org/${TOKEN}?q=a b", url: true,
			want: "https://x.example.org/a%2Fb%20c%40%C3%BC?q=a b", values: []string{"a/b c@ü"}},
		{name: "a whole URL", text: "${BASE}/${NAME}", url: true, want: "https://desk.example.org/desk",
			values: []string{"https://desk.example.org", "desk"}},
		{name: "unset", text: "${UNSET}", err: "the environment variable UNSET is not set"},
		{name: "not closed", text: "${NAME", err: "without its }"},
		{name: "no name", text: "${}", err: "takes the name"},
		{name: "bad name", text: "${1A}", err: "takes the name"},
		{name: "shell", text: "${NAME-x}", err: "takes the name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, values, err := expandEnv(test.text, variables, test.url)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || got != test.want || !slices.Equal(values, test.values) {
				t.Errorf("got %q, %q, %v; want %q, %q", got, values, err, test.want, test.values)
			}
		})
	}
}
