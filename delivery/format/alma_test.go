package format

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"rowhook/delivery"
)

func text(s string) *string { return &s }

// almaEvents are the nine families of Alma's webhooks, with payloads as its own, and what the rules
// of names, nulls and deletes ask for beyond them. Each has a golden file of its name.
func almaEvents() map[string]*delivery.Event {
	at := time.Date(2026, 1, 2, 12, 4, 5, 678_900_000, time.FixedZone("", 9*3600))
	event := func(typ, data string) *delivery.Event {
		return &delivery.Event{Making: &delivery.Making{Type: typ, Source: "library", Op: "update"}, Commit: &delivery.Commit{Time: at}, ID: "evt_" + typ, Data: []byte(data)}
	}
	loan := event("loan.returned", `{"loan_id":"1001","circ_desk":{"value":"DEFAULT_CIRC_DESK","desc":"Circulation Desk"},
  "return_circ_desk":{"value":"DEFAULT_CIRC_DESK","desc":"Circulation Desk"},"library":{"value":"MAIN","desc":"Main Library"},
  "user_id":"u-1","item_barcode":"B0001","due_date":"2026-01-20T14:00:00.000000Z","loan_status":"COMPLETE",
  "loan_date":"2025-12-20T08:08:54.624000Z","return_date":"2026-01-02T03:04:05.601999Z","returned_by":{"value":"staff7","link":null},
  "process_status":"NORMAL","mms_id":"9912345","holding_id":"2212345","item_id":"2312345","title":"図書館の話","author":"Doe, A.",
  "publication_year":"2000","location_code":{"value":"OG","name":"Upper Floor"},
  "item_policy":{"value":"01","description":"28 days"},"call_number":"PL 440","renewable":false}`)
	loan.Kinds = "smmmssz-szzmsssssssmmsb"
	request := event("request.placed_on_shelf", `{"user_primary_id":"u-1","request_id":"77","request_type":"HOLD","mms_id":"9912345","title":"図書館の話",
  "item_id":"2312345","barcode":"B0001","pickup_location":"Main Library","pickup_location_type":"LIBRARY",
  "pickup_location_library":"MAIN","material_type":{"value":"BK","desc":"Book"},"request_status":"ON_HOLD_SHELF",
  "place_in_queue":1,"request_date":"2026-01-01","request_time":"2026-01-01T10:00:00.000000Z"}`)
	request.Kinds = "ssssssssssmsidz"
	job := event("job.finished", `{"id":"8812","external_id":"8812","name":"Nightly export","submitted_by":{"value":"System"},
  "submit_time":"2026-01-02T03:00:00.000Z","start_time":"2026-01-02T03:00:02.000Z","end_time":"2026-01-02T03:10:00.000Z",
  "progress":100.0,"status":{"value":"COMPLETED_SUCCESS","desc":"Completed Successfully"},"status_date":"2026-01-02Z",
  "alert":[{"value":"alert_general_success","desc":"The job completed."}],
  "counter":[{"type":{"value":"label.new.records","desc":"New Records"},"value":"12"},{"type":{"value":"label.old.records","desc":null},"value":"0"}],
  "job_info":{"id":"S12","name":"Nightly export","description":"Export","type":{"value":"SCHEDULED","desc":"Scheduled"},
   "category":{"value":"PUBLISHING","desc":"Publishing"},"link":"/almaws/v1/conf/jobs/S12"},
  "link":"/almaws/v1/conf/jobs/S12/instances/8812"}`)
	job.Op, job.Object, job.As = "signal", "job_instance", map[string]*string{"action": text("JOB_END"), "event": nil}
	bib := event("bib.deleted", `{"mms_id":"9912345"}`)
	bib.Op, bib.Shape = "delete", []byte(`{"mms_id":"9912345","record_format":"marc21","linked_record_id":{"value":""},"title":"図書館の話",
  "holdings":{"value":"","link":"/almaws/v1/bibs/9912345/holdings"},"created_by":"System","created_date":"2020-05-14",
  "last_modified_by":"System","last_modified_date":"2026-01-02","network_number":["(OCoLC)1","(DE-1)2"],"suppress_from_publishing":"false",
  "suppress_from_external_search":"false","anies":["<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n<record>\n <leader>01234cam a22</leader><datafield tag=\"245\" ind1=\"1\"\n ind2=\"0\"><subfield code=\"a\">図書館の話 &amp; &lt;mehr&gt;</subfield></datafield></record>"],"requests":null}`)
	bib.Kinds = "ssmsmsdsdlssls"
	item := event("item.updated", `{"bib_data":{"mms_id":"9912345","title":"図書館の話"},"holding_data":{"holding_id":"2212345","call_number":"PL 440","in_temp_location":false},
  "item_data":{"pid":"2312345","barcode":"B0001","base_status":{"value":"1","desc":"Item in place"},
   "physical_material_type":{"value":"BOOK","desc":"Book"},"policy":{"value":"01","desc":"28 days"},"replacement_cost":12.50,"inventory_number":9007199254740993,
   "library":{"value":"MAIN","desc":"Main Library"},"location":{"value":"OG","desc":"Upper Floor"},"alternative_call_number":"","requested":false}}`)
	user := event("user.updated", `{"method":"UPDATE","user":{"primary_id":"u-1","first_name":"太郎","last_name":"住友","user_group":{"value":"STAFF","desc":"Staff"},
  "preferred_language":{"value":"ja","desc":"Japanese"},"contact_info":{"address":[],"email":[{"email_address":"t@example.org","preferred":true}],"phone":[]},
  "user_identifier":[{"value":"20001","id_type":{"value":"BARCODE","desc":"Barcode"},"status":"ACTIVE"}],"birth_date":null}}`)
	letter := event("notification.sent", `{"letter":{"value":"FulPlaceOnHoldShelfLetter","desc":"On Hold Shelf Letter"},"channel":"WEBHOOK",
  "recipient":{"primary_id":"u-1","full_name":"住友 太郎","email_address":null,"preferred_language":{"value":"ja","desc":"Japanese"}},
  "sent_time":"2026-01-02T03:04:05.000Z","subject":"Your request","body":"<p>Line 1\r\nLine 2 \u2028 & more</p>","user_request":[{"request_id":"77"}]}`)
	letter.As = map[string]*string{"event": text("FulPlaceOnHoldShelfLetter")}
	received := event("receive.continuous", `{"bib_data":{"mms_id":"9912345"},"item_data":{"pid":"2312345","barcode":"B0001","po_line":"POL-1"}}`)
	sharing := event("rs.created", `{"request_id":"5","external_id":"ILL-5","status":{"value":"SENT","desc":"Sent"},"rs_note":[{"content":"urgent"}],"request_cost":{"sum":2.50,"currency":{"value":"EUR","desc":"Euro"}}}`)
	sharing.As = map[string]*string{"action": text("RS_BORROWING_REQUEST"), "event": text("RS_REQUEST_CREATED")}
	bare := event("book.borrowed", `{"a":1}`)
	bare.As = map[string]*string{"desc": nil}
	nasty := event("loan.created", `{"t":"\"\\ <&> \u2028😀\u0000\u001f\ud800","list":[1,[2,null,[]],{"x y":1,"図":2,"_x":3}],"null":null,"__proto__":1,"10":"ten","2":"two","empty":{},"value":{"value":"<\"&\n\t>","desc":"<\"&\n\t>","link":null},"d":"2026-01-01","inf":"infinity","bc":"0044-03-15 BC"}`)
	nasty.Kinds, nasty.Object = "sljxsslmddz", "odd object"
	return map[string]*delivery.Event{
		"loan": loan, "request": request, "job_end": job, "bib": bib, "item": item, "user": user, "notification": letter,
		"receive": received, "rs_borrowing_request": sharing, "bare": bare, "nasty": nasty,
		"empty": {Making: &delivery.Making{Type: "loan.created", Source: "library", Op: "truncate"}, Commit: &delivery.Commit{Time: at}, ID: "evt_none"},
	}
}

func almaConfig(change func(*delivery.ProfileConfig)) delivery.ProfileConfig {
	cfg := Products().Defaults("alma")
	cfg.Code = "desk"
	cfg.Alma.Institution = delivery.InstitutionConfig{Value: "99ROW_INST", Desc: "Rowhook Library"}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

func mustRender(t interface {
	Helper()
	Fatal(args ...any)
}, cfg delivery.ProfileConfig, ev *delivery.Event) []byte {
	t.Helper()
	f, err := Products().Formatter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	body, err := f.AppendBody([]byte("before"), ev)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimPrefix(body, []byte("before"))
}

func asXML(c *delivery.ProfileConfig) { c.MessageType = "xml" }

// TestAlmaGolden compares each family, in JSON and XML, with its golden file: one line each.
func TestAlmaGolden(t *testing.T) {
	t.Parallel()
	engine := startNode(t)
	for name, ev := range almaEvents() {
		inJSON := mustRender(t, almaConfig(nil), ev)
		inXML := mustRender(t, almaConfig(asXML), ev)
		goldenLines(t, filepath.Join("alma", name+".txt"), inJSON, inXML)
		engine.fixedPoint(t, inJSON)
		assertXML(t, inXML)
	}
}

// goldenLines compares bodies, one a line, with a golden file.
func goldenLines(t *testing.T, name string, bodies ...[]byte) {
	t.Helper()
	var got []byte
	for _, body := range bodies {
		got = append(append(got, body...), '\n')
	}
	golden(t, name, string(got))
}

// assertXML fails when a body is not well-formed XML on one line that begins as listeners want it.
func assertXML(t testing.TB, body []byte) {
	t.Helper()
	if !bytes.HasPrefix(body, []byte("<?xml")) || bytes.ContainsAny(body, "\r\n") {
		t.Errorf("not one line of XML: %q", body)
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("%v: %s", err, body)
			return
		}
	}
}

// TestAlmaExamples: the bodies that the format was specified by come out as they are.
func TestAlmaExamples(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for _, test := range []struct {
		typ, desc, data, inJSON, inXML string
	}{
		{"loan.returned", "Rowhook Library", `{"loan_id":"1001","user_id":"u-1","item_barcode":"B0001"}`,
			`{"id":"ID","action":"LOAN","event":{"value":"LOAN_RETURNED","desc":"Loan returned"},"institution":{"value":"99ROW_INST","desc":"Rowhook Library"},"time":"2026-01-02T03:04:05.678Z","item_loan":{"loan_id":"1001","user_id":"u-1","item_barcode":"B0001"}}`,
			`<?xml version="1.0" encoding="UTF-8" standalone="yes"?><webhook><id>ID</id><action>LOAN</action><event desc="Loan returned">LOAN_RETURNED</event><institution desc="Rowhook Library">99ROW_INST</institution><time>2026-01-02T03:04:05.678Z</time><item_loan><loan_id>1001</loan_id><user_id>u-1</user_id><item_barcode>B0001</item_barcode></item_loan></webhook>`},
		{"bib.updated", "図書館 <A&B>", `{"mms_id":"9912345","title":"日本語の「題名」 / \"quoted\" \\ end"}`,
			`{"id":"ID","action":"BIB","event":{"value":"BIB_UPDATED","desc":"BIB record updated"},"institution":{"value":"99ROW_INST","desc":"図書館 <A&B>"},"time":"2026-01-02T03:04:05.678Z","bib":{"mms_id":"9912345","title":"日本語の「題名」 / \"quoted\" \\ end"}}`,
			`<?xml version="1.0" encoding="UTF-8" standalone="yes"?><webhook><id>ID</id><action>BIB</action><event desc="BIB record updated">BIB_UPDATED</event><institution desc="図書館 &lt;A&amp;B&gt;">99ROW_INST</institution><time>2026-01-02T03:04:05.678Z</time><bib><mms_id>9912345</mms_id><title>日本語の「題名」 / "quoted" \ end</title></bib></webhook>`},
	} {
		ev := &delivery.Event{Making: &delivery.Making{Type: test.typ}, Commit: &delivery.Commit{Time: at}, ID: "evt_1", Data: []byte(test.data)}
		id := string(appendAlmaID(nil, "evt_1", "desk"))
		config := func(change func(*delivery.ProfileConfig)) delivery.ProfileConfig {
			cfg := almaConfig(change)
			cfg.Alma.Institution.Desc = test.desc
			return cfg
		}
		if got := string(mustRender(t, config(nil), ev)); got != strings.Replace(test.inJSON, "ID", id, 1) {
			t.Errorf("got\n%s\nwant\n%s", got, test.inJSON)
		}
		if got := string(mustRender(t, config(asXML), ev)); got != strings.Replace(test.inXML, "ID", id, 1) {
			t.Errorf("got\n%s\nwant\n%s", got, test.inXML)
		}
	}
}

func TestAlmaNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, typ, object string
		as                map[string]*string
		renames           []delivery.NameConfig
		want              string // from action to the payload's name, institution and time left out
	}{
		{"loan", "loan.created", "", nil, nil, `"action":"LOAN","event":{"value":"LOAN_CREATED","desc":"Loan created"},"item_loan"`},
		{"one L", "request.canceled", "", nil, nil, `"action":"REQUEST","event":{"value":"REQUEST_CANCELED","desc":"Request canceled"},"user_request"`},
		{"claimed", "loan.claimed_returned", "", nil, nil, `"action":"LOAN","event":{"value":"LOAN_CLAIMED_RETURNED","desc":"Loan claimed returned"},"item_loan"`},
		{"bib", "bib.created", "", nil, nil, `"action":"BIB","event":{"value":"BIB_CREATED","desc":"BIB record created"},"bib"`},
		{"item", "item.deleted", "", nil, nil, `"action":"ITEM","event":{"value":"ITEM_DELETED","desc":"Item deleted"},"item"`},
		{"user has no event", "user.created", "", nil, nil, `"action":"USER","webhook_user"`},
		{"user with one", "user.created", "", map[string]*string{"event": text("USER_CREATED")}, nil, `"action":"USER","event":{"value":"USER_CREATED","desc":"User created"},"webhook_user"`},
		{"receive", "receive.continuous", "", nil, nil, `"action":"RECEIVE","event":{"value":"RECEIVE_CONTINUOUS","desc":"Item received"},"item"`},
		{"given desc", "loan.lost", "", map[string]*string{"desc": text("Lost <&>")}, nil, `"action":"LOAN","event":{"value":"LOAN_LOST","desc":"Lost <&>"},"item_loan"`},
		{"given event", "hold.ready", "", map[string]*string{"action": text("REQUEST"), "event": text("REQUEST_PLACED_ON_SHELF")}, nil, `"action":"REQUEST","event":{"value":"REQUEST_PLACED_ON_SHELF","desc":"Request placed on shelf"},"user_request"`},
		{"letter's code", "notification.sent", "", map[string]*string{"event": text("FulCancelRequestLetter")}, nil, `"action":"NOTIFICATION","event":{"value":"FulCancelRequestLetter","desc":"Notification sent"},"webhook_notification"`},
		{"no action", "loan.created", "", map[string]*string{"action": nil, "event": nil}, nil, `"data"`},
		{"object", "loan.created", "my_loan", nil, nil, `"action":"LOAN","event":{"value":"LOAN_CREATED","desc":"Loan created"},"my_loan"`},
		{"renamed", "receive.continuous", "", nil, []delivery.NameConfig{{Name: "RECEIVE", To: "ITEM"}, {Name: "RECEIVE_CONTINUOUS", To: "ITEM_RECEIVED"}, {Name: "item", To: "thing"}}, `"action":"ITEM","event":{"value":"ITEM_RECEIVED","desc":"Item received"},"thing"`},
	} {
		ev := &delivery.Event{Making: &delivery.Making{Type: test.typ, Object: test.object, As: test.as, Source: "library"}, Commit: &delivery.Commit{}, ID: "evt_1"}
		body := string(mustRender(t, almaConfig(func(c *delivery.ProfileConfig) { c.Alma.Names = test.renames }), ev))
		body = regexp.MustCompile(`"institution":.*?"time":".*?",`).ReplaceAllString(body, "")
		_, body, _ = strings.Cut(body, `",`)
		if got := strings.TrimSuffix(body, ":{}}"); got != test.want {
			if got = strings.TrimPrefix(strings.TrimSuffix(string(mustRender(t, almaConfig(nil), ev)), ":{}}"), ""); !strings.HasSuffix(got, test.want) {
				t.Errorf("%s: got %s, want %s", test.name, body, test.want)
			}
		}
	}
}

// TestAlmaNullMembers: what a message does not have is absent, or null where the profile says so.
func TestAlmaNullMembers(t *testing.T) {
	t.Parallel()
	explicit := func(c *delivery.ProfileConfig) { c.Alma.NullMembers = "explicit" }
	for name, want := range map[string]string{
		"item":    `"holding":null,"portfolio":null,"representation":null`,
		"loan":    `"bib":null,"holding":null,"item":null,"portfolio":null,"representation":null`,
		"job_end": `"event":null`,
	} {
		ev := almaEvents()[name]
		if body := string(mustRender(t, almaConfig(nil), ev)); strings.Contains(body, want) {
			t.Errorf("%s: %s", name, body)
		}
		body := mustRender(t, almaConfig(explicit), ev)
		if !strings.Contains(string(body), want) || !json.Valid(body) {
			t.Errorf("%s: %s", name, body)
		}
		if got, plain := mustRender(t, almaConfig(func(c *delivery.ProfileConfig) { explicit(c); asXML(c) }), ev), mustRender(t, almaConfig(asXML), ev); !bytes.Equal(got, plain) {
			t.Errorf("%s: nulls in XML: %s", name, got)
		}
	}
}

// TestAlmaID: 19 digits, a positive number of 63 bits, the same for each rendering and another for
// each event and profile.
func TestAlmaID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i := range 5000 {
		id := string(appendAlmaID(nil, "evt_"+string(rune('a'+i%26))+strings.Repeat("x", i/26), "desk"))
		if !regexp.MustCompile(`^[1-9][0-9]{18}$`).MatchString(id) || id > "9223372036854775807" || seen[id] {
			t.Fatalf("id %s of event %d", id, i)
		}
		seen[id] = true
	}
	if a, b := string(appendAlmaID(nil, "evt_1", "desk")), string(appendAlmaID(nil, "evt_1", "other")); a == b {
		t.Error("two profiles have one id")
	}
	if a, b := string(appendAlmaID(nil, "a", "bc")), string(appendAlmaID(nil, "ab", "c")); a == b {
		t.Error("event and profile run together")
	}
}

func TestAlmaHead(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{"json": "application/json;charset=UTF-8", "xml": "application/xml;charset=UTF-8"} {
		f, err := Products().Formatter(almaConfig(func(c *delivery.ProfileConfig) { c.MessageType = message }))
		if err != nil {
			t.Fatal(err)
		}
		if head := f.Head(nil); head.ContentType != want || head.Header != nil {
			t.Error(head)
		}
		if _, groups := f.(delivery.GroupFormatter); groups {
			t.Error("alma has groups")
		}
	}
}

func TestAlmaRefuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range []delivery.ProfileConfig{almaConfig(nil), almaConfig(asXML)} {
		f, err := Products().Formatter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range []string{`{"a":}`, `[]`, `{"a":1}x`, `{"a":"\x"}`} {
			body, err := f.AppendBody([]byte("kept"), &delivery.Event{Making: &delivery.Making{Type: "loan.created"}, Commit: &delivery.Commit{}, ID: "evt_1", Data: []byte(data)})
			if !errors.Is(err, errBadJSON) || string(body) != "kept" {
				t.Errorf("%s: %s, %v", data, body, err)
			}
		}
	}
	_, err := Products().Formatter(almaConfig(func(c *delivery.ProfileConfig) { c.Alma.Names = []delivery.NameConfig{{Name: "LOAN"}} }))
	var e *delivery.ConfigError
	if !errors.As(err, &e) || strings.Join(e.ConfigPath(), ".") != "profiles.desk.alma.names.LOAN" {
		t.Error(err)
	}
}

// TestAlmaRecordsHaveNamespaces: whatever a record's prefixes, the body is well-formed for a parser
// that knows namespaces.
func TestAlmaRecordsHaveNamespaces(t *testing.T) {
	t.Parallel()
	const marc, xsi = `xmlns:marc="http://www.loc.gov/MARC21/slim"`, `xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"`
	for record, want := range map[string]string{
		`<record><leader>1</leader></record>`:                             `<record><leader>1</leader></record>`,
		`<record ` + marc + `><marc:leader/></record>`:                    `<record ` + marc + `><marc:leader></marc:leader></record>`,
		`<record><a ` + marc + ` marc:x="1"/><b xml:lang="ja"/></record>`: `<record><a ` + marc + ` marc:x="1"></a><b xml:lang="ja"></b></record>`,
		`<marc:record><marc:leader>1</marc:leader></marc:record>`:         `<marc:record ` + marc + `><marc:leader>1</marc:leader></marc:record>`,
		`<record xsi:schemaLocation="a b"/>`:                              `<record ` + xsi + ` xsi:schemaLocation="a b"></record>`,
		`<record ` + xsi + ` xsi:type="t"><marc:x/></record>`:             `<record ` + marc + ` ` + xsi + ` xsi:type="t"><marc:x></marc:x></record>`,
		`<record><a ` + marc + `/><marc:b/></record>`:                     `<record ` + marc + `><a ` + marc + `></a><marc:b></marc:b></record>`,
		`<mods:record/>`:                            `<anies>&lt;mods:record/&gt;</anies>`,
		`<record other:a="1"/>`:                     `<anies>&lt;record other:a="1"/&gt;</anies>`,
		`<record a="1" a="2"/>`:                     `<anies>&lt;record a="1" a="2"/&gt;</anies>`,
		`<record xmlns:p=""><p:a/></record>`:        `<anies>&lt;record xmlns:p=""&gt;&lt;p:a/&gt;&lt;/record&gt;</anies>`,
		`<record xmlns:p="u"/><p:a/>`:               `<anies>&lt;record xmlns:p="u"/&gt;&lt;p:a/&gt;</anies>`,
		`<r><a xmlns:p="u"><p:b/></a><p:b/></r>`:    `<anies>&lt;r&gt;&lt;a xmlns:p="u"&gt;&lt;p:b/&gt;&lt;/a&gt;&lt;p:b/&gt;&lt;/r&gt;</anies>`,
		`<a:b:c xmlns:a="u"/>`:                      `<anies>&lt;a:b:c xmlns:a="u"/&gt;</anies>`,
		`<record ` + marc + `><marc:/></record>`:    `<anies>&lt;record ` + marc + `&gt;&lt;marc:/&gt;&lt;/record&gt;</anies>`,
		`<record xmlns="u"><leader/></record>`:      `<record xmlns="u"><leader></leader></record>`,
		`<xmlns:record/>`:                           `<anies>&lt;xmlns:record/&gt;</anies>`,
		`<record><a xmlns:xmlns="u"/></record>`:     `<anies>&lt;record&gt;&lt;a xmlns:xmlns="u"/&gt;&lt;/record&gt;</anies>`,
		`<record><a p:x="1" xmlns:p="u"/></record>`: `<record><a p:x="1" xmlns:p="u"></a></record>`,
	} {
		data, err := json.Marshal(map[string][]string{"anies": {record}})
		if err != nil {
			t.Fatal(err)
		}
		body := mustRender(t, almaConfig(asXML), &delivery.Event{Making: &delivery.Making{Type: "bib.updated"}, Commit: &delivery.Commit{}, ID: "evt_1", Data: data})
		if !strings.Contains(string(body), "<bib>"+want+"</bib>") {
			t.Errorf("%s became %s", record, body)
		}
		assertNamespaces(t, body)
	}
}

// assertNamespaces fails when a name in a body has a prefix that is not declared, which Go's parser
// passes on as it is.
func assertNamespaces(t *testing.T, body []byte) {
	t.Helper()
	known := func(name xml.Name) bool {
		return name.Space == "" || name.Space == "xmlns" || name.Space == "u" || strings.Contains(name.Space, "://") || name == xml.Name{Space: "http://www.w3.org/XML/1998/namespace", Local: "lang"}
	}
	for d := xml.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Errorf("%v: %s", err, body)
			return
		}
		element, ok := token.(xml.StartElement)
		if ok && !known(element.Name) {
			t.Errorf("element %v has no namespace: %s", element.Name, body)
		}
		for _, a := range element.Attr {
			if !known(a.Name) {
				t.Errorf("attribute %v has no namespace: %s", a.Name, body)
			}
		}
	}
}

// TestAlmaObjects: a payload's name must keep its place in JavaScript, and be no other member's.
// The configuration is refused where it says so; a name that follows from an event's type makes the
// delivery fail.
func TestAlmaObjects(t *testing.T) {
	t.Parallel()
	for object, fault := range map[string]string{
		"item_loan": "", "10": "array index", "4294967294": "array index", "4294967295": "", "01": "", "__proto__": "JavaScript", "time": "already", "event": "already",
	} {
		for _, inXML := range []bool{false, true} {
			cfg := almaConfig(func(c *delivery.ProfileConfig) {
				if inXML {
					asXML(c)
				}
			})
			want := fault
			if inXML && fault != "already" {
				want = ""
			}
			told := almaObjectFault(&cfg, object)
			f, err := Products().Formatter(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range []*delivery.Event{{Making: &delivery.Making{Type: "a.b", Object: object}, Commit: &delivery.Commit{}, ID: "evt_1"}, {Making: &delivery.Making{Type: object + ".changed"}, Commit: &delivery.Commit{}, ID: "evt_1"}} {
				body, err := f.AppendBody([]byte("kept"), ev)
				if (told == "") != (want == "") || !strings.Contains(told, want) || (err == nil) != (want == "") || err != nil && string(body) != "kept" {
					t.Errorf("%s, xml %t: %q, %s, %v", object, inXML, told, body, err)
				}
			}
		}
	}
}

// TestAlmaProperty: whatever an event holds, its JSON is a fixed point of JavaScript and its XML is
// well-formed.
func TestAlmaProperty(t *testing.T) {
	t.Parallel()
	engine := startNode(t)
	rapid.Check(t, func(rt *rapid.T) {
		data := `{"payload":` + jsonText(rt, 3) + "}"
		ev := &delivery.Event{
			Making: &delivery.Making{
				Type: rapid.String().Draw(rt, "type"), As: map[string]*string{"desc": text(rapid.String().Draw(rt, "desc"))},
				Source: rapid.String().Draw(rt, "source"),
			},
			Commit: &delivery.Commit{},
			ID:     "evt_1", Data: []byte(data), Kinds: rapid.StringMatching(`[-xsSiInfbztdhjlom]{0,3}`).Draw(rt, "kinds"),
		}
		ev.Object = "payload"
		body := mustRender(t, almaConfig(nil), ev)
		if js := engine.restringify(t, body); !bytes.Equal(js, body) {
			rt.Fatalf("JavaScript makes\n%s\nof\n%s", js, body)
		}
		inXML := mustRender(t, almaConfig(asXML), ev)
		d := xml.NewDecoder(bytes.NewReader(inXML))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				rt.Fatalf("%v: %s", err, inXML)
			}
		}
	})
}

// TestCheckAlma: a payload's name that canonical JSON cannot have is refused where it is given.
func TestCheckAlma(t *testing.T) {
	t.Parallel()
	c := almaConfig(func(c *delivery.ProfileConfig) { c.Alma.Names = []delivery.NameConfig{{Name: "loan", To: "__proto__"}} })
	var got []string
	for _, wrong := range checkAlma(&c, []delivery.EventType{
		{Type: "loan.returned", Entry: "loans"},
		{Type: "item.created", Entry: "items", Object: "item", ObjectAt: []string{"items"}},
		{Type: "bib.created", Entry: "bibs", Object: "time", ObjectAt: []string{"bibs"}},
		{Type: "user.created", Entry: "users", Object: "7", ObjectAt: []string{"users"}},
		{Type: "loan.lost", Entry: "lost", Object: "loan", ObjectAt: []string{"lost"}},
	}) {
		got = append(got, wrong.Error())
	}
	want := []string{
		`bibs: "time" is a member of every message already`,
		`users: "7" looks like an array index, which JavaScript puts before all other members`,
		`lost: "loan" is "__proto__" by the profile's alma.names, which is no member in JavaScript, but what an object is made of`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("refused %q", got)
	}
}
