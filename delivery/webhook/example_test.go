package webhook_test

import (
	"fmt"
	"net/http"
	"time"

	"rowhook/delivery/webhook"
)

// What a receiver does with a request before it believes a word of it.
func ExampleVerify() {
	header := http.Header{}
	header.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set("webhook-timestamp", "1614265330")
	header.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	body := []byte(`{"test": 2432232314}`)
	now := time.Unix(1614265330, 0)

	fmt.Println(webhook.Verify(header, body, now, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	fmt.Println(webhook.Verify(header, body, now, "another secret"))
	fmt.Println(webhook.Verify(header, body, now.Add(time.Hour), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	// Output:
	// <nil>
	// no signature matches the secret
	// webhook-timestamp is not a unix time within five minutes of now
}
