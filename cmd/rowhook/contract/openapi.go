package contract

import (
	"regexp"
	"slices"
	"strings"

	"rowhook/delivery"
)

// OpenAPI is an OpenAPI 3.1 document: a webhook for each kind of request of each profile.
func (c *Contract) OpenAPI() Document {
	all, schemas := c.bodies(func(name string) Schema { return Schema{"$ref": "#/components/schemas/" + name} })
	webhooks := Schema{}
	var tags []Schema
	for _, b := range all {
		webhooks[b.name] = Schema{"post": b.operation()}
	}
	for i := range c.Receivers {
		r := &c.Receivers[i]
		tag := Schema{"name": r.Profile.Code}
		if text := strings.TrimSpace(r.Profile.Name + "\n" + r.Profile.Description); text != "" {
			tag["description"] = text
		}
		tags = append(tags, tag)
		if name, path := r.challenge(); path != nil {
			webhooks[name] = path
		}
	}
	return Document{OpenAPI: openAPI, Info: c.info(), Tags: tags, Webhooks: webhooks, Components: Schema{"schemas": schemas}}
}

const openAPI = "3.1.0"

// operation is the request as OpenAPI has it.
func (b *body) operation() Schema {
	var parameters []Schema
	for _, h := range b.receiver.headers() {
		parameters = append(parameters, Schema{
			"name": h.name, "in": "header", "required": h.always, "description": h.description, "schema": Schema{"type": "string"},
		})
	}
	return Schema{
		"operationId": b.name, "summary": b.title, "tags": []string{b.receiver.Profile.Code}, "parameters": parameters,
		"requestBody": Schema{"required": true, "content": Schema{
			b.receiver.ContentType: Schema{"schema": Schema{"$ref": "#/components/schemas/" + b.name}},
		}},
		"responses": b.receiver.responses(),
	}
}

var plainStatus = regexp.MustCompile(`^[1-5]\d\d$`)

// responses are what answers mean.
func (r *Receiver) responses() Schema {
	accepted := Schema{"description": "accepted: answer as soon as the event is stored"}
	responses := Schema{"default": Schema{"description": "tried again or given up, by the status and the profile's replies"}}
	if !slices.ContainsFunc(r.Profile.Replies, func(reply delivery.ReplyConfig) bool { return reply.Status == "410" || reply.Status == "4xx" }) {
		responses["410"] = Schema{"description": "no more deliveries: the profile becomes inactive"}
	}
	if len(r.Profile.Success) > 0 && !slices.ContainsFunc(r.Profile.Success, func(s string) bool { return !plainStatus.MatchString(s) }) {
		for _, status := range r.Profile.Success {
			responses[status] = accepted
		}
		return responses
	}
	responses["2XX"] = accepted
	return responses
}

// challenge is how the endpoint is asked before the first delivery; nil when it is not.
func (r *Receiver) challenge() (name string, path Schema) {
	name = r.Profile.Code + "-challenge"
	header := func(name, description string) Schema {
		return Schema{"name": name, "in": "header", "required": true, "description": description, "schema": Schema{"type": "string"}}
	}
	operation := Schema{"operationId": name, "summary": "Asks whether deliveries are wanted", "tags": []string{r.Profile.Code}}
	switch r.Profile.Challenge {
	case "query":
		operation["parameters"] = []Schema{{"name": "challenge", "in": "query", "required": true, "schema": Schema{"type": "string"}}}
		operation["responses"] = Schema{"200": Schema{"description": "the answer contains the challenge's text"}}
		return name, Schema{"get": operation}
	case "cloudevents":
		operation["parameters"] = []Schema{header("webhook-request-origin", "who wants to deliver")}
		operation["responses"] = Schema{"default": Schema{"description": "deliveries are wanted", "headers": Schema{
			"webhook-allowed-origin": Schema{"required": true, "schema": Schema{"type": "string"}},
			"webhook-allowed-rate":   Schema{"required": true, "schema": Schema{"type": "string"}},
		}}}
		return name, Schema{"options": operation}
	}
	return "", nil
}
