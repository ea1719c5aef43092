package agent

import (
	"errors"
	"fmt"
	"slices"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// A profile that the config no longer has keeps what the spool holds for it until a person
// decides. While it is known to the spool, nothing behind its cursor can be removed.

// removed are the profiles that the spool knows and the config does not.
func (w *workspace) removed() ([]spool.ProfileInfo, error) {
	known, err := w.spool.Profiles()
	if err != nil {
		return nil, fmt.Errorf("list the spool's profiles: %w", err)
	}
	return slices.DeleteFunc(known, func(p spool.ProfileInfo) bool {
		return slices.ContainsFunc(w.config().Profiles, func(c delivery.ProfileConfig) bool { return c.Code == p.Code })
	}), nil
}

// hasAny reports whether the spool has anything for a profile: what waits, or dead letters.
func (w *workspace) hasAny(p spool.ProfileInfo) (bool, error) {
	found := p.Backlog.Events > 0
	err := w.spool.Deliveries(p.ID, 0, nil, func(delivery.Delivery) bool {
		found = true
		return false
	})
	return found, err
}

// removedProfiles are the removed profiles that the spool still holds something for.
func (w *workspace) removedProfiles() ([]operation.RemovedStatus, error) {
	removed, err := w.removed()
	if err != nil {
		return nil, err
	}
	var list []operation.RemovedStatus
	for _, p := range removed {
		held, err := w.hasAny(p)
		if err != nil {
			return nil, err
		}
		if held {
			list = append(list, operation.RemovedStatus{Profile: p.Code, BacklogEvents: p.Backlog.Events, BacklogBytes: p.Backlog.Bytes})
		}
	}
	return list, nil
}

// retireRemoved forgets the removed profiles that the spool holds nothing for, so that
// their cursors do not keep history from being removed, and names the others.
func (w *workspace) retireRemoved() error {
	removed, err := w.removed()
	if err != nil {
		return err
	}
	for _, p := range removed {
		held, err := w.hasAny(p)
		if err != nil {
			return err
		}
		if held {
			w.logger.Warn("a profile is no longer in the config, and what the spool holds for it stays", "profile", p.Code, "events", p.Backlog.Events)
			continue
		}
		switch err := w.store().Retire(p.Code); {
		case errors.Is(err, delivery.ErrNotOwner), errors.Is(err, delivery.ErrWaiting): // it is wanted after all
			w.logger.Warn("a profile is no longer in this machine's config, and stays", "profile", p.Code, "err", err)
			continue
		case err != nil:
			return err
		}
		w.logger.Info("a profile is no longer in the config and is forgotten: nothing waited for it", "profile", p.Code)
	}
	return nil
}
