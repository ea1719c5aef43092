package format

import (
	"encoding/hex"

	"rowhook/delivery"
)

// githubProduct is the signature of GitHub's webhooks, which many receivers and gateways know. It
// goes with any format.
func githubProduct() delivery.Product {
	return delivery.Product{
		Name: "github",
		Signature: &delivery.Signature{
			Header: "X-Hub-Signature-256",
			Encode: func(dst, sum []byte) []byte { return hex.AppendEncode(append(dst, "sha256="...), sum) },
		},
	}
}
