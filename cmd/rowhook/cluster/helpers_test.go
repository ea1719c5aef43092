package cluster

import "os"

// soak reports whether heavy tests run at full length.
func soak() bool { return os.Getenv("ROWHOOK_CLUSTER") != "" || os.Getenv("ROWHOOK_SOAK") != "" }
