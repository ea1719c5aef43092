package console

import "rowhook/cmd/rowhook/operation"

// overviewData is how everything stands.
type overviewData struct {
	*status
	Series Series
}

func (v *visit) overviewData() (overviewData, error) {
	s, err := v.status(v.r.Context())
	if err != nil {
		return overviewData{}, err
	}
	data := overviewData{status: s}
	return data, v.call(OpHistory, operation.None{}, &data.Series)
}

// overview is the first page.
func (v *visit) overview() error {
	data, err := v.overviewData()
	if err != nil {
		return err
	}
	return v.ok(page{Title: v.t("Overview"), Nav: "", Template: "overview", Live: "overview", Data: data})
}

// RetainedBytes is the log that the source keeps.
func (d overviewData) RetainedBytes() int64 {
	switch stream := d.Source.Stream; {
	case stream == nil:
	case stream.Slot != nil:
		return stream.Slot.RetainedBytes
	case stream.Binlog != nil:
		return stream.Binlog.RetainedBytes
	}
	return 0
}

// Percent is how much of its budget the spool takes.
func (d overviewData) Percent() int64 {
	if d.Spool.MaxBytes == 0 {
		return 0
	}
	return (d.Spool.Bytes - d.Spool.HistoryBytes) * 100 / d.Spool.MaxBytes
}

// Backlog is how many events wait, over all profiles.
func (d overviewData) Backlog() int64 {
	n := int64(0)
	for i := range d.Profiles {
		n += d.Profiles[i].BacklogEvents
	}
	return n
}

// Dead is how many dead letters there are, over all profiles.
func (d overviewData) Dead() int64 { return d.dead("") }
