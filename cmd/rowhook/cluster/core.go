package cluster

import "fmt"

// core decides what a message means for one replica's spool, given what the spool has already. It is
// pure: who has it applies what next says, in one write with the values that go with it.
type core struct {
	state *state
	log   stamp  // the last part in the spool that ended a transaction
	rest  uint64 // messages up to it were applied before this process began, but for open parts
	redo  *state // reads those again; nil when there are none left
	next  uint64 // sequence number of the message to come
}

// loadCore makes a core of the spool's values; nil ones are those of a new spool.
func loadCore(log, rest, table, floor []byte) (*core, error) {
	c := &core{state: newState()}
	var err error
	if len(log) > 0 {
		if c.log, err = decodeStamp(log); err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		if c.state, err = decodeState(rest, table); err != nil {
			return nil, err
		}
	}
	if c.state.floor, err = decodeFloor(floor); err != nil {
		return nil, err
	}
	c.rest, c.next = c.state.seq, c.state.resume()
	if c.next <= c.rest {
		c.redo = c.state.again()
	}
	return c, nil
}

// last is the last message of which the spool has an effect.
func (c *core) last() stamp {
	if c.log.seq > c.state.seq {
		return c.log
	}
	return stamp{c.state.seq, c.state.digest}
}

// action is what a message does to the spool.
type action struct {
	effect
	skip bool // the spool has it already
}

// take takes the message that comes next.
func (c *core) take(seq uint64, raw []byte) (action, error) {
	if seq != c.next {
		return action{}, fmt.Errorf("message %d of the cluster's stream came when %d was due", seq, c.next)
	}
	c.next++
	if seq <= c.rest {
		f, err := c.redo.read(seq, raw)
		do := action{effect: f, skip: err != nil || f.seq <= c.log.seq || !c.state.reopens(&f)}
		if seq == c.rest {
			c.state.recover(c.redo)
			c.redo = nil
		}
		return do, err
	}
	f, err := c.state.apply(seq, raw)
	if msg, ok := f.message.(part); ok && err == nil && f.refused == nil && msg.commits && seq > c.log.seq {
		c.log = stamp{seq, c.state.digest}
		return action{effect: f}, nil
	}
	_, isPart := f.message.(part)
	return action{effect: f, skip: isPart && seq <= c.log.seq}, err
}
