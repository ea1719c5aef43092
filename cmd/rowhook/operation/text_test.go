package operation

import (
	"testing"
	"time"
)

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0ms", 340 * time.Millisecond: "340ms", 999_600 * time.Microsecond: "1s", 12 * time.Second: "12s", 250 * time.Second: "4m10s",
		time.Hour: "1h", 200 * time.Minute: "3h20m", 52 * time.Hour: "2d4h", -time.Minute: "-1m", time.Hour + time.Second: "1h",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}
