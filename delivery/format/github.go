package format

import "rowhook/delivery"

// githubProduct is the signature of GitHub's webhooks, which many receivers and gateways know. It
// goes with any format.
func githubProduct() delivery.Product {
	return delivery.Product{Name: "github"}
}
