package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The unit in docs keeps state and log to their owner, gives no rights, and gives requests in
// flight their time.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "rowhook.service"))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]bool{}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		lines[line] = true
		key, value, _ := strings.Cut(line, "=")
		settings[key] = value
	}
	for _, wanted := range []string{
		"User=rowhook", "StateDirectoryMode=0700", "LogsDirectoryMode=0750", "UMask=0077", "NoNewPrivileges=yes", "CapabilityBoundingSet=",
		"ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
		"SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources", "RestartPreventExitStatus=2 4",
		"SuccessExitStatus=3", // a reload with findings has taken effect
		"ExecReload=/usr/local/bin/rowhook reload -c /etc/rowhook/config.yaml", // a small system has no /bin/kill
	} {
		if !lines[wanted] {
			t.Errorf("the unit lacks %s", wanted)
		}
	}
	stop, err := time.ParseDuration(settings["TimeoutStopSec"] + "s")
	c, _ := write(t, smallConfig)
	if grace := c.ShutdownGrace; err != nil || stop <= grace+10*time.Second {
		t.Errorf("TimeoutStopSec is %s (%v), and requests in flight may take %s alone", stop, err, grace)
	}
}
