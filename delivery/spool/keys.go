package spool

import (
	"encoding/binary"
	"fmt"

	"rowhook/delivery"
)

// First bytes of the keys. They are grouped so that what grows with the log ('h', 'l')
// lies apart from what is rewritten in place.
const (
	prefixCommit   = 'c' // how far the log is committed
	prefixFloor    = 'f' // the first event that is still in the log
	prefixMark     = 'h' // + seq: time and size of the log up to there
	prefixPiece    = 'i' // + seq + part + index: piece of an event that is large
	prefixKept     = 'k' // + key: row of the database that the agent keeps
	prefixLog      = 'l' // + seq: event
	prefixMeta     = 'm' // + name: the agent's own values
	prefixOps      = 'n' // how many batches were applied
	prefixProfile  = 'p' // + profile + kind + ...: a profile's state
	prefixParked   = 'q' // + seq: dead letter of the source
	prefixParking  = 'Q' // number and size of the source's dead letters
	prefixRegistry = 'r' // + profile: code
	prefixTotals   = 't' // what profiles have been sent in all
	prefixUndo     = 'u' // + key: what was kept there before the open transaction
)

// Kinds of keys below prefixProfile.
const (
	kindProgress = 'a' // cursor, done list, counters
	kindBody     = 'b' // + seq: rendered body
	kindLive     = 'd' // + seq: delivery that is retrying or blocked
	kindEvent    = 'e' // + seq: copy of an event that is no longer in the log
	kindPiece    = 'f' // + seq + part + index: copy of a piece that is no longer in the log
	kindLane     = 'k' // + lane + seq: index of live deliveries
	kindState    = 's' // the engine's own bytes
	kindMissed   = 'g' // + seq: delivery that was passed over, and what it counts elsewhere
	kindDue      = 'u' // + due + seq: index of retrying deliveries
	kindDead     = 'x' // + seq: dead delivery
)

func seqKey(prefix byte, seq delivery.Seq) []byte {
	return appendSeqKey(make([]byte, 0, 9), prefix, seq)
}

func appendSeqKey(dst []byte, prefix byte, seq delivery.Seq) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefix), uint64(seq))
}

// keySeq returns the sequence number that ends a key.
func keySeq(key []byte) delivery.Seq {
	if len(key) < 8 {
		return 0
	}
	return delivery.Seq(binary.BigEndian.Uint64(key[len(key)-8:]))
}

// profileKey returns a profile's key of a kind, with parts (seq, lane, due) as 8 bytes each.
func profileKey(id delivery.ProfileID, kind byte, parts ...uint64) []byte {
	key := make([]byte, 0, 6+8*len(parts))
	key = binary.BigEndian.AppendUint32(append(key, prefixProfile), uint32(id))
	key = append(key, kind)
	for _, part := range parts {
		key = binary.BigEndian.AppendUint64(key, part)
	}
	return key
}

func metaKey(name string) []byte { return append([]byte{prefixMeta}, name...) }

func registryKey(id delivery.ProfileID) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixRegistry}, uint32(id))
}

// after returns the first key that does not begin with prefix. The prefixes in use
// never end in 0xff bytes all over, so that there always is one.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// profileNumber returns the profile that a registry key is about.
func profileNumber(key []byte) delivery.ProfileID {
	return delivery.ProfileID(binary.BigEndian.Uint32(key[1:]))
}

func errKey(key []byte) error { return fmt.Errorf("key %x of the spool: %w", key, errMalformed) }
