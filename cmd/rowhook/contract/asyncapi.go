package contract

// AsyncAPI is an AsyncAPI 3 document: a channel for each profile, whose address is the endpoint's
// own affair, and a message for each kind of request.
func (c *Contract) AsyncAPI() Document {
	all, schemas := c.bodies(func(name string) Schema { return Schema{"$ref": "#/components/schemas/" + name} })
	channels, operations, messages := Schema{}, Schema{}, Schema{}
	of := map[string]Schema{} // the messages of each channel
	for i := range c.Receivers {
		p := c.Receivers[i].Profile
		of[p.Code] = Schema{}
		channel := Schema{"address": nil, "messages": of[p.Code]}
		if p.Name != "" {
			channel["title"] = p.Name
		}
		if p.Description != "" {
			channel["description"] = p.Description
		}
		channels[p.Code] = channel
		operations[p.Code] = Schema{
			"action": "send", "channel": Schema{"$ref": "#/channels/" + p.Code},
			"bindings": Schema{"http": Schema{"method": "POST", "bindingVersion": "0.3.0"}},
		}
	}
	for _, b := range all {
		headers := Schema{}
		for _, h := range b.receiver.headers() {
			headers[h.name] = Schema{"type": "string", "description": h.description}
		}
		messages[b.name] = Schema{
			"name": b.name, "title": b.title, "contentType": b.receiver.ContentType,
			"headers": Schema{"type": "object", "properties": headers},
			"payload": Schema{"$ref": "#/components/schemas/" + b.name},
		}
		of[b.receiver.Profile.Code][b.name] = Schema{"$ref": "#/components/messages/" + b.name}
	}
	return Document{
		AsyncAPI: "3.0.0", Info: c.info(), DefaultContentType: "application/json", Channels: channels, Operations: operations,
		Components: Schema{"schemas": schemas, "messages": messages},
	}
}
