package format

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

// TestProducts holds all that each product's value says to its golden file.
func TestProducts(t *testing.T) {
	t.Parallel()
	for _, p := range Products() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			path, got := filepath.Join("testdata", "products", p.Name+".txt"), facts(&p)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs; got:\n%s", path, got)
			}
		})
	}
}

// facts writes what a product's value says: what is set of its plain fields, what a profile of its
// format has other than most, its signature of a text, and its mails.
func facts(p *delivery.Product) string {
	var out strings.Builder
	line := func(name string, value any) { fmt.Fprintf(&out, "%s: %+v\n", name, value) }
	fields := reflect.ValueOf(*p)
	for i := range fields.NumField() {
		switch f := fields.Field(i); {
		case f.IsZero():
		case f.Kind() == reflect.Func:
			line(fields.Type().Field(i).Name, "there is one")
		case f.Kind() != reflect.Pointer:
			line(fields.Type().Field(i).Name, f.Interface())
		}
	}
	most, own := delivery.Defaults(), delivery.Defaults()
	if p.Section != nil {
		p.Section(&own)
	}
	if p.Preset != nil {
		p.Preset(&own)
	}
	a, b := reflect.ValueOf(most), reflect.ValueOf(own)
	for i := range a.NumField() {
		if f := a.Type().Field(i); f.IsExported() && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			line("default "+f.Tag.Get("yaml"), b.Field(i).Interface())
		}
	}
	if s := p.Signature; s != nil {
		mac := hmac.New(sha256.New, []byte("a secret"))
		mac.Write([]byte("a body"))
		line("signature "+s.Header, string(s.Encode(nil, mac.Sum(nil))))
	}
	if p.Mail != nil {
		at := time.Date(2026, 1, 2, 0, 4, 5, 0, time.UTC)
		own.Code, own.Name, own.Alert.ManageURL = "desk", "Circulation desk", "https://db.example.org/manage"
		subject, text := p.Mail(delivery.FailureMail{
			Profile: &own, Environment: "production", Left: 2, Since: at.Add(-time.Hour),
			Failure: &delivery.Failure{
				Profile: "desk", Time: at, Outcome: delivery.OutcomeDead, Event: "evt_1", Type: "loan.returned", Op: "update",
				Code: "APP_0200", Title: "貸出管理", URL: "http://example.com/api/data", Attempt: 4, Attempts: 4,
				Status: 404, Reason: "status_4xx", Response: "no such\npage",
			},
		})
		line("mail", subject+"\n\n"+text)
	}
	return out.String()
}

// TestProductsAreComplete: each product is of some use, its names are those that the config takes,
// and a profile of each format works with no more than the format needs.
func TestProductsAreComplete(t *testing.T) {
	t.Parallel()
	all := Products()
	formats, signatures, mails := []string{}, []string{"standard"}, []string{"plain"}
	for i := range all {
		p := &all[i]
		if p.Formatter != nil {
			formats = append(formats, p.Name)
		}
		if p.Signature != nil {
			signatures = append(signatures, p.Name)
			if p.Signature.Header == "" || bytes.ContainsAny(p.Signature.Encode(nil, make([]byte, sha256.Size)), "\r\n") {
				t.Errorf("%s: a signature needs a header and one line", p.Name)
			}
		}
		if p.Mail != nil {
			mails = append(mails, p.Name)
		}
		if p.Name == "" || p.Formatter == nil && p.Signature == nil && p.Mail == nil {
			t.Errorf("%q is no product", p.Name)
		}
		if p.Formatter == nil && (p.Preset != nil || p.Items != nil || p.Check != nil || p.Findings != nil || p.Units.Only != nil) {
			t.Errorf("%s: there are no profiles of what is no format", p.Name)
		}
		if (p.Units.Only == nil) != (p.Units.Text == "" || p.Units.Remedy == "") {
			t.Errorf("%s: other units are refused with a text and a remedy", p.Name)
		}
	}
	for field, want := range map[string][]string{"Format": formats, "Signature": append(signatures, "none")} {
		known(t, reflect.TypeFor[delivery.ProfileConfig](), field, want)
	}
	known(t, reflect.TypeFor[delivery.AlertConfig](), "Text", mails)
	for _, format := range formats {
		works(t, all, format)
	}
}

// known holds the values that the config takes for a key to what the products have.
func known(t *testing.T, section reflect.Type, field string, want []string) {
	t.Helper()
	f, _ := section.FieldByName(field)
	if got := strings.Split(f.Tag.Get("enum"), ","); !slices.Equal(got, want) {
		t.Errorf("the tag of %s.%s in delivery/config.go has %s; the products are %s", section.Name(), field, got, want)
	}
}

// works makes a profile of a format for each unit: it has all those that the format does not
// refuse.
func works(t *testing.T, all delivery.Products, format string) {
	t.Helper()
	for _, unit := range []string{delivery.UnitRecord, delivery.UnitType, delivery.UnitTransaction, delivery.UnitBatch} {
		c := all.Defaults(format)
		c.Code, c.Unit, c.Template = "desk", unit, "{{.id}}"
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if c.Format != format || c.Signature != "none" && c.Signature != "standard" && all.Signature(c.Signature) == nil {
			t.Errorf("%s: the preset has format %s and signature %s", format, c.Format, c.Signature)
		}
		only := all.Of(format).Units.Only
		refused := only != nil && !slices.Contains(only, unit)
		if err := all.Validate(&c); (err != nil) != refused {
			t.Errorf("%s: unit %s: %v", format, unit, err)
		}
		formatter, err := all.Formatter(c)
		if err == nil && !refused {
			err = c.CheckUnit(formatter)
		}
		if err != nil {
			t.Errorf("%s: unit %s: %v", format, unit, err)
		}
		c.MessageType = "xml"
		if _, err := all.Formatter(c); (err == nil) != all.Of(format).XML {
			t.Errorf("%s: XML: %v", format, err)
		}
	}
}

// TestNoSuchProduct: what is no format is refused with a list of those that there are.
func TestNoSuchProduct(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"github", "stripe"} {
		c := Products().Defaults(format)
		c.Code = "desk"
		_, err := Products().Formatter(c)
		fault, ok := err.(*delivery.ConfigError)
		if !ok || fault.Error() != fmt.Sprintf("profiles.desk.format: format %q is not in this version", format) ||
			fault.RemedyText() != "use native, cloudevents, alma, rakuraku, slack or template" {
			t.Errorf("%s: %v, %v", format, err, fault)
		}
	}
	c := Products().Defaults("alma")
	c.Code, c.IdentificationKey, c.Unit = "desk", "abc", "batch"
	want := "profiles.desk.unit: alma knows requests with one event only\nprofiles.desk.identification_key: format alma has no place for it"
	if err := Products().Validate(&c); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
