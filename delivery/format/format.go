// Package format renders events as request bodies, and says what else rowhook knows of the products
// that take them.
//
// A product is one file, with a [delivery.Product] at its top: alma.go, rakuraku.go, slack.go,
// github.go and so on. [Products] lists them; the program hands that list to whoever asks, so that
// no other room knows a product by its name. A body that takes more than a page has files of its
// own beside, such as alma_body.go.
//
// A formatter appends the whole body to a caller's buffer and keeps no state, so that
// one formatter serves all lanes of a profile. Bodies are deterministic: the same event and
// configuration always give the same bytes. The values come as ready JSON from the mapping
// and are copied, never decoded: what the database said is what arrives, digit by digit.
package format

import "rowhook/delivery"

// Products returns all products, in the order in which messages list them.
func Products() delivery.Products {
	return delivery.Products{
		nativeProduct(),
		cloudEventsProduct(),
		almaProduct(),
		rakurakuProduct(),
		slackProduct(),
		templateProduct(),
		githubProduct(),
	}
}
