package operation

import (
	"strconv"
	"time"

	"rowhook/delivery"
)

// ReasonWord is a reason of the profile for people: the status itself where it was the last
// reply's.
func ReasonWord(reason string, p delivery.ProfileStatus) string {
	if reason == p.LastReason && p.LastStatus != 0 {
		return strconv.Itoa(p.LastStatus)
	}
	return reason
}

// FormatMoment writes a time as the commands show it, in the machine's zone; empty for none.
func FormatMoment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}

// FormatDuration writes a duration by its two largest units: 340ms, 12s, 4m10s, 3h20m, 2d4h.
func FormatDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + FormatDuration(-d)
	case d < time.Second-time.Millisecond/2:
		return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + "ms"
	}
	d = d.Round(time.Second)
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, unit := range units {
		if d < unit.size {
			continue
		}
		text := strconv.FormatInt(int64(d/unit.size), 10) + unit.name
		if i+1 < len(units) {
			if rest := d % unit.size / units[i+1].size; rest > 0 {
				text += strconv.FormatInt(int64(rest), 10) + units[i+1].name
			}
		}
		return text
	}
	return "0s"
}
