package agent

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
)

const (
	// defaultQuietPeriod is [Options.QuietPeriod] where none is given.
	defaultQuietPeriod = 250 * time.Millisecond
	// filesInterval is how often the files are looked at without word of a change: not every file
	// system tells.
	filesInterval = time.Minute
)

// watchFiles reloads when the config file or a file that it names has other content than when it
// was read last. Directories are watched, not files: editors put new files in the place of old
// ones, and Kubernetes turns a symbolic link that the files are reached by. What a change is called
// does not matter, since contents are compared.
func (a *Agent) watchFiles(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	var events <-chan fsnotify.Event
	var failures <-chan error
	if err != nil {
		a.logger.Warn("changes of the config file are noticed within a minute only", "err", err)
	} else {
		defer watcher.Close()
		events, failures = watcher.Events, watcher.Errors
	}
	due := time.NewTimer(0)
	defer due.Stop()
	waiting := false
	soon := func() {
		if !waiting {
			waiting = true
			due.Reset(a.quietPeriod)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			soon()
		case <-failures: //nolint:errcheck // whatever was lost, all files are looked at
			soon()
		case <-due.C:
			waiting = false
			due.Reset(filesInterval)
			if watcher != nil {
				watchDirs(watcher, a.lastRead().Files())
			}
			if a.lastRead().Changed() || a.forsaken() {
				_, _ = a.reload(ctx, operation.ReloadRequest{User: directories.User(), By: operation.ReloadByFile}) // told by itself
				soon()                                                                                              // it may name other files
			}
		}
	}
}

// lastRead is the config as its files were read last, whether it could be used or not.
func (a *Agent) lastRead() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.read
}

// watchDirs has the watcher watch the directories of the files, and of what these lead to by
// symbolic links.
func watchDirs(watcher *fsnotify.Watcher, files []string) {
	wanted := map[string]bool{}
	for _, path := range files {
		wanted[filepath.Dir(path)] = true
		if target, err := filepath.EvalSymlinks(path); err == nil {
			wanted[filepath.Dir(target)] = true
		}
	}
	for dir := range wanted {
		_ = watcher.Add(dir) // one that is not there yet is looked for again every filesInterval
	}
	for _, dir := range watcher.WatchList() {
		if !wanted[dir] {
			_ = watcher.Remove(dir)
		}
	}
}
