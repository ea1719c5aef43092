package console

import "strconv"

// auditData is a page of the audit trail.
type auditData struct {
	AuditPage
	First bool
}

// auditLines is how many lines of the audit trail a page has.
const auditLines = 100

// audit shows who did what.
func (v *visit) audit() error {
	before, _ := strconv.ParseInt(v.r.URL.Query().Get("before"), 10, 64) // what is no number is none
	data := auditData{First: before <= 0}
	if err := v.call(OpAudit, AuditQuery{Before: max(before, 0), Most: auditLines}, &data.AuditPage); err != nil {
		return err
	}
	return v.ok(page{Title: v.t("Audit"), Nav: "audit", Template: "audit", Data: data})
}
