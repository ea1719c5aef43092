package config

import "os"

// Where the config file is, without -c: what the environment names, config.yaml where one works on
// a config, and in the end the machine's.
const (
	configVariable = "ROWHOOK_CONFIG"
	localConfig    = "config.yaml"
	machineConfig  = "/etc/rowhook/config.yaml"
)

// Find returns the config file that commands use without -c.
func Find(env func(string) (string, bool)) string {
	if path, _ := env(configVariable); path != "" {
		return path
	}
	if _, err := os.Stat(localConfig); err == nil {
		return localConfig
	}
	if _, err := os.Stat(machineConfig); err == nil {
		return machineConfig
	}
	return localConfig
}
