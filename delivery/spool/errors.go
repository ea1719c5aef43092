package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// ErrGone reports an event that is no longer in the spool: history has been removed up to there.
var ErrGone = errors.New("no longer in the spool")

// errClosed reports the use of a spool after Close.
var errClosed = errors.New("spool is closed")

// Holder is who has a spool open.
type Holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
	// Passing says that it will soon be gone: a command, not an agent.
	Passing bool `json:"passing,omitempty"`
}

// LockedError reports that another process, or another part of this one, has the spool open.
type LockedError struct {
	Dir    string
	Holder Holder // zero when the holder did not leave its name
}

// Error implements error.
func (e *LockedError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("spool %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("spool %s is in use by process %d on %s since %s",
		e.Dir, e.Holder.PID, e.Holder.Host, e.Holder.Since.Format(time.RFC3339))
}

// Passing reports whether it is worth waiting: the holder said that it ends by itself, or has not
// left its name yet or any more. What a killed process left may be read until the next holder has
// written its own name, so it takes two looks to be sure.
func (e *LockedError) Passing() bool { return e.Holder.PID == 0 || e.Holder.Passing }

// RemedyText tells the operator what to do.
func (e *LockedError) RemedyText() string {
	if e.Holder.Passing {
		return "another command works on the state directory while no agent runs: try again when it has ended"
	}
	return "one agent per state directory: stop the other one, or give this one a state directory of its own"
}

// DamageError reports that what is on disk is not what was written, beyond the torn
// tail that a crash may leave.
type DamageError struct {
	Dir  string
	File string // inside Dir; empty when it could not be told
	Lost string // what is lost, as far as it can be told
	Err  error  // nil when our own check found it
}

// corruptionDetail is what the store's text says of a part of it that has no text.
const corruptionDetail = "<corruption detail carrier>"

// Error implements error.
func (e *DamageError) Error() string {
	where := e.Dir
	if e.File != "" {
		where = e.Dir + "/" + e.File
	}
	if e.Err == nil {
		return fmt.Sprintf("spool is damaged: %s: %s", where, e.Lost)
	}
	found := strings.ReplaceAll(e.Err.Error(), corruptionDetail, "")
	return fmt.Sprintf("spool is damaged: %s: %s: %s", where, e.Lost, strings.Trim(found, " :\n"))
}

// Unwrap returns the store's own finding.
func (e *DamageError) Unwrap() error { return e.Err }

// RemedyText tells the operator what to do.
func (e *DamageError) RemedyText() string {
	return "restore the state directory as it was when the agent stopped; without a copy move it aside, keep it, " +
		"and start with `rowhook run --start slot`: the source then repeats what it was not confirmed, " +
		"and undelivered events in the damaged spool are lost"
}

// remediedError is a failure of the file system, with what to do about it.
type remediedError struct {
	error
	remedy string
}

// Unwrap returns the failure.
func (e *remediedError) Unwrap() error { return e.error }

// RemedyText tells the operator what to do.
func (e *remediedError) RemedyText() string { return e.remedy }

// remedies of what a file system fails with. Whatever it is, the next start has all that was
// confirmed.
var remedies = [...]struct {
	cause error
	text  string
}{
	{syscall.ENOSPC, "free space on the disk of the state directory, and start the agent again"},
	{syscall.EDQUOT, "raise the agent's quota on the disk of the state directory, and start the agent again"},
	{syscall.EMFILE, "raise the limit of open files (`LimitNOFILE=` of a systemd unit), and start the agent again"},
	{syscall.ENFILE, "raise the machine's limit of open files (`sysctl fs.file-max`), and start the agent again"},
	{fs.ErrNotExist, "the state directory was removed or unmounted under the agent: mount it, or restore it as it was, and " +
		"start the agent again"},
	{fs.ErrPermission, "give the agent's user the state directory and all that is in it, and start the agent again"},
	{syscall.EROFS, "a kernel makes a disk read-only when it fails: look at `dmesg`, make the state directory writable, and " +
		"start the agent again"},
	{syscall.EIO, "the disk of the state directory fails: look at `dmesg`, repair or replace it, and start the agent again"},
}

// remedied gives a failure of the file system its remedy, unless it has one.
func remedied(err error) error {
	var has interface{ RemedyText() string }
	if err == nil || errors.As(err, &has) {
		return err
	}
	for _, r := range remedies {
		if errors.Is(err, r.cause) {
			return &remediedError{err, r.text}
		}
	}
	return err
}

// NoRoomError reports that the disk has less free space than the reserve, so that
// nothing is appended. Nothing is lost: the source is to be paused meanwhile.
type NoRoomError struct {
	Free, Reserve int64
	Err           error // what the disk said, when it was it that refused
}

// Error implements error.
func (e *NoRoomError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("no room on the spool's disk: %v", e.Err)
	}
	return fmt.Sprintf("no room on the spool's disk: %d bytes free, spool.reserve is %d", e.Free, e.Reserve)
}

// Unwrap returns the disk's error.
func (e *NoRoomError) Unwrap() error { return e.Err }

// RemedyText tells the operator what to do.
func (e *NoRoomError) RemedyText() string {
	return "free space on the disk of the state directory; the source is paused until then"
}
