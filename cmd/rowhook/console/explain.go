package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
)

// explainTerms are what the form about a row asks for, as it was written.
type explainTerms struct {
	Entry, Key, Since string
}

// request reads the terms. A key has a column a line.
func (v *visit) explainRequest(t *explainTerms) (operation.ExplainRequest, error) {
	key, err := operation.ParseKey(linesOf(t.Key))
	since, late := moment(t.Since, v.now())
	return operation.ExplainRequest{Entry: t.Entry, Key: key, Since: since}, errors.Join(err, late)
}

// explainData is what became of a row's changes.
type explainData struct {
	Terms   explainTerms
	Query   string // the id of what was asked
	Event   string // that was asked about; empty for a row
	Problem string
	Remedy  string
	Asked   bool
	Told    operation.Explanation
	Notes   []string
	Entries []string
}

// explainMost is how many changes a page has.
const explainMost = 200

// explain shows a row's changes, or asks which row.
func (v *visit) explain() error {
	data := explainData{Query: v.r.URL.Query().Get("q"), Terms: explainTerms{Entry: v.r.URL.Query().Get("entry")}}
	if data.Query != "" {
		terms, _ := v.sessions.remembered(v.session, data.Query)
		stored, ok := terms.(explainTerms)
		if !ok {
			v.say("warn", v.t("That search is over. Search again."))
			return v.redirect("/explain")
		}
		data.Terms, data.Asked = stored, true
	}
	all := v.kept.of(v)
	for i := range all.Events {
		if entry := all.Events[i].Entry; entry != "" && (len(data.Entries) == 0 || data.Entries[len(data.Entries)-1] != entry) {
			data.Entries = append(data.Entries, entry)
		}
	}
	if !data.Asked {
		return v.showExplained(http.StatusOK, &data)
	}
	request, err := v.explainRequest(&data.Terms)
	if err == nil {
		data.Told, err = v.explained(request)
	}
	if err != nil {
		data.Problem, data.Remedy = err.Error(), capture.Remedy(err)
		return v.showExplained(http.StatusUnprocessableEntity, &data)
	}
	return v.showExplained(http.StatusOK, &data)
}

// explainEvent shows the change that made an event.
func (v *visit) explainEvent() error {
	data := explainData{Event: v.r.PathValue("event"), Asked: true}
	var err error
	if data.Told, err = v.explained(operation.ExplainRequest{Event: data.Event}); err != nil {
		return err
	}
	return v.showExplained(http.StatusOK, &data)
}

// explained asks the agent. It reads the spool and the log, so one page at a time asks, and not for
// long.
func (v *visit) explained(r operation.ExplainRequest) (operation.Explanation, error) {
	var told operation.Explanation
	leave, err := v.searches.take(v.r.Context(), spoolBudget)
	if errors.Is(err, context.DeadlineExceeded) {
		return told, &pageError{Status: http.StatusServiceUnavailable, Text: v.t("Somebody else is searching."), Remedy: v.t("Try again later. The commands search without this limit.")}
	}
	if err != nil {
		return told, err
	}
	defer leave()
	r.Most, r.Within = explainMost, 2*spoolBudget
	return told, v.call("explain", r, &told)
}

func (v *visit) showExplained(status int, data *explainData) error {
	if data.Asked && data.Problem == "" {
		data.Notes = data.Told.Notes()
	}
	v.show(status, page{Title: v.t("What became of a row"), Nav: "deliveries", Template: "explain", Data: data})
	return nil
}

// searchRow keeps what is asked for in the session, so that no URL has it.
func (v *visit) searchRow() error {
	f := func(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }
	terms := explainTerms{Entry: f("entry"), Key: plainLines(v.r.PostFormValue("key")), Since: f("since")}
	if terms == (explainTerms{}) {
		return v.redirect("/explain")
	}
	return v.redirect("/explain?q=" + v.sessions.remember(v.session, terms))
}

// keyLines writes a key as the form about a row takes it; empty for what is no flat object.
func keyLines(raw []byte) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return ""
	}
	var lines []string
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return ""
		}
		value, err := d.Token()
		if _, nested := value.(json.Delim); err != nil || nested {
			return ""
		}
		line := fmt.Sprintf("%v=%v", name, value)
		if strings.ContainsAny(line, "\r\n") {
			return "" // a form takes a line for each column
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
