package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"rowhook/delivery"
)

// messageVersion is the first byte of each message. Machines that know it not stop: to pass over
// what others apply would let the replicas part.
const messageVersion = 1

// lane is one of a machine's orders of messages. In each it has one message under way at most.
type lane uint8

const (
	laneCapture lane = iota
	laneProgress
	laneMembership
	laneCount
)

// envelope is what every message of the stream has around it. A message that is larger than the
// servers take goes in several of them; its body is that of all, one behind the other.
type envelope struct {
	machine     string
	incarnation uint64 // of the process, drawn at its start
	lane        lane
	n           uint64 // grows with each envelope of the lane; those that come again have the same
	goesOn      bool   // with the message that the one before in the lane did not end
	more        bool   // the next one of the lane goes on with the same message
	body        []byte
}

// digest is what a replica remembers a message by.
type digest [16]byte

func digestOf(raw []byte) digest {
	sum := sha256.Sum256(raw)
	return digest(sum[:len(digest{})])
}

const (
	flagMore = 1 << iota
	flagGoesOn
	flagEnd
)

func (e *envelope) append(dst []byte) []byte {
	dst = append(dst, messageVersion, byte(e.lane), 0)
	if e.more {
		dst[len(dst)-1] |= flagMore
	}
	if e.goesOn {
		dst[len(dst)-1] |= flagGoesOn
	}
	dst = binary.BigEndian.AppendUint64(dst, e.incarnation)
	dst = binary.AppendUvarint(dst, e.n)
	dst = appendText(dst, e.machine)
	return append(dst, e.body...)
}

func (e *envelope) bytes() []byte { return e.append(nil) }

// decodeEnvelope reads an envelope. Its body is part of raw.
func decodeEnvelope(raw []byte) (e envelope, err error) {
	r := reader{rest: raw}
	if version := r.byte(); r.err == nil && version != messageVersion {
		return e, &VersionError{Version: int(version)}
	}
	e.lane = lane(r.byte())
	flags := r.byte()
	e.more, e.goesOn = flags&flagMore != 0, flags&flagGoesOn != 0
	e.incarnation = r.uint64()
	e.n = r.uvarint()
	e.machine = r.text()
	e.body = r.rest
	if r.err == nil && (e.lane >= laneCount || flags >= flagEnd || e.n == 0 || e.machine == "") {
		r.err = errMalformed
	}
	return e, r.err
}

// VersionError is a message of the stream that this build does not know.
type VersionError struct {
	Version int // of the message; 0 when its kind is not known
	Kind    int
}

func (e *VersionError) Error() string {
	if e.Version == 0 {
		return fmt.Sprintf("the cluster's stream has messages of kind %d, which this build of rowhook does not know", e.Kind)
	}
	return fmt.Sprintf("the cluster's stream has messages of version %d; this build of rowhook knows version %d", e.Version, messageVersion)
}

// RemedyText says what would help.
func (e *VersionError) RemedyText() string {
	return "install on this machine the version of rowhook that the other machines run"
}

// kind says what a message is. The numbers are bytes of the stream.
type kind uint8

const (
	kindGenesis kind = iota + 1
	kindJoin
	kindRenew
	kindClaim
	kindRelease
	kindGone
	kindPart
	kindAbort
	kindProgress
	kindMeta
	kindUnpark
	kindForgetKept
	kindRetire
	kindSnapshot
	kindTurn
)

// message is what a machine says. The total order of the stream is the order of all of them.
type message interface {
	kind() kind
	appendBody(dst []byte) []byte
}

type (
	// genesis begins a cluster: what its machines have comes from the snapshot, if there is one, and
	// the messages behind.
	genesis struct{ lineage, snapshot string }

	// join makes a process the one that speaks for its machine. Of the process before it says either
	// its incarnation, since it holds the same state directory, or which renewal was its last.
	join struct {
		previous, seen uint64
		about          about
	}

	// renew says that the process lives. What it owns is its own until its lease ends, counted from
	// when it sent this.
	renew struct {
		about   about
		applied uint64 // sequence number of the last message that it applied
		digest  digest // of that message
	}

	// claim takes seats that are free, or whose owner's lease has ended.
	claim struct{ seats []claimed }

	// release gives seats back.
	release struct{ seats []string }

	// gone takes a machine off the list: the process itself, or one whose last renewal is named.
	gone struct {
		machine string
		seen    uint64 // 0: the sender itself
	}

	// part is a piece of the source's stream, as the spool encodes it.
	part struct {
		epoch   uint64
		commits bool
		batch   []byte
	}

	// abort drops the parts of the open transaction.
	abort struct{ epoch uint64 }

	// progress is what became of deliveries of several profiles.
	progress struct{ items []progressItem }

	// meta sets one of the agent's own values.
	meta struct {
		epoch uint64
		key   string
		value []byte
	}

	// unpark removes dead letters of the source.
	unpark struct {
		epoch uint64
		seqs  []delivery.Seq
	}

	// forgetKept forgets kept rows from lower to before upper.
	forgetKept struct {
		epoch        uint64
		lower, upper []byte
	}

	// retire forgets a profile that the config has no more, in the epoch of its owner, or of the last
	// one if nobody owns it.
	retire struct {
		code  string
		epoch uint64
	}

	// snapshot says that an object holds what the messages up to covers lead to.
	snapshot struct {
		object string
		covers uint64
	}

	// turn says, between two transactions, by which config events are made from here on.
	turn struct {
		epoch  uint64 // of the capture
		config string // digest
		note   []byte // what machines need to know besides, to take it
	}
)

// about is what a machine says of itself.
type about struct {
	Roles   Roles
	Lease   time.Duration // milliseconds count
	Config  string        // digest of its config; machines that differ in it do not share profiles out
	Address string        // for operators
	Version string        // of rowhook
}

// claimed is a seat that is claimed. The claim holds if the seat's epoch is still that one and, when
// it has an owner, the renewal seen is still its owner's last.
type claimed struct {
	seat  string
	epoch uint64
	seen  uint64 // 0: it has no owner
}

type progressItem struct {
	code   string
	epoch  uint64
	update []byte // as the spool encodes it
}

func (genesis) kind() kind    { return kindGenesis }
func (join) kind() kind       { return kindJoin }
func (renew) kind() kind      { return kindRenew }
func (claim) kind() kind      { return kindClaim }
func (release) kind() kind    { return kindRelease }
func (gone) kind() kind       { return kindGone }
func (part) kind() kind       { return kindPart }
func (abort) kind() kind      { return kindAbort }
func (progress) kind() kind   { return kindProgress }
func (meta) kind() kind       { return kindMeta }
func (unpark) kind() kind     { return kindUnpark }
func (forgetKept) kind() kind { return kindForgetKept }
func (retire) kind() kind     { return kindRetire }
func (snapshot) kind() kind   { return kindSnapshot }
func (turn) kind() kind       { return kindTurn }

func (m genesis) appendBody(dst []byte) []byte {
	return appendText(appendText(dst, m.lineage), m.snapshot)
}

func (m join) appendBody(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.previous)
	return m.about.append(binary.AppendUvarint(dst, m.seen))
}

func (m renew) appendBody(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, m.applied), m.digest[:]...)
	return m.about.append(dst)
}

func (m claim) appendBody(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m.seats)))
	for _, c := range m.seats {
		dst = binary.AppendUvarint(binary.AppendUvarint(appendText(dst, c.seat), c.epoch), c.seen)
	}
	return dst
}

func (m release) appendBody(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m.seats)))
	for _, seat := range m.seats {
		dst = appendText(dst, seat)
	}
	return dst
}

func (m gone) appendBody(dst []byte) []byte {
	return binary.AppendUvarint(appendText(dst, m.machine), m.seen)
}

func (m part) appendBody(dst []byte) []byte {
	return append(appendBool(binary.AppendUvarint(dst, m.epoch), m.commits), m.batch...)
}

func (m abort) appendBody(dst []byte) []byte { return binary.AppendUvarint(dst, m.epoch) }

func (m progress) appendBody(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m.items)))
	for _, item := range m.items {
		dst = binary.AppendUvarint(appendText(dst, item.code), item.epoch)
		dst = appendText(dst, string(item.update))
	}
	return dst
}

func (m meta) appendBody(dst []byte) []byte {
	dst = appendText(binary.AppendUvarint(dst, m.epoch), m.key)
	if m.value == nil {
		return append(dst, 0)
	}
	return append(append(dst, 1), m.value...)
}

func (m unpark) appendBody(dst []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, m.epoch), uint64(len(m.seqs)))
	for _, seq := range m.seqs {
		dst = binary.AppendUvarint(dst, uint64(seq))
	}
	return dst
}

func (m forgetKept) appendBody(dst []byte) []byte {
	return append(appendText(binary.AppendUvarint(dst, m.epoch), string(m.lower)), m.upper...)
}

func (m retire) appendBody(dst []byte) []byte {
	return binary.AppendUvarint(appendText(dst, m.code), m.epoch)
}

func (m snapshot) appendBody(dst []byte) []byte {
	return binary.AppendUvarint(appendText(dst, m.object), m.covers)
}

func (m turn) appendBody(dst []byte) []byte {
	return append(appendText(binary.AppendUvarint(dst, m.epoch), m.config), m.note...)
}

func (a *about) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, byte(a.Roles)), uint64(max(a.Lease, 0)/time.Millisecond))
	return appendText(appendText(appendText(dst, a.Config), a.Address), a.Version)
}

// encodeMessage is the body of a message's envelopes.
func encodeMessage(m message) []byte { return m.appendBody([]byte{byte(m.kind())}) }

// decodeMessage reads a message. Bytes in it are part of raw.
func decodeMessage(raw []byte) (message, error) {
	r := reader{rest: raw}
	k := kind(r.byte())
	if r.err != nil {
		return nil, r.err
	}
	decode, known := decoders[k]
	if !known {
		return nil, &VersionError{Kind: int(k)}
	}
	m := decode(&r)
	if r.err == nil && len(r.rest) > 0 {
		r.err = errMalformed
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

var decoders = map[kind]func(*reader) message{
	kindGenesis: func(r *reader) message { return genesis{lineage: r.text(), snapshot: r.text()} },
	kindJoin:    func(r *reader) message { return join{previous: r.uint64(), seen: r.uvarint(), about: r.about()} },
	kindRenew: func(r *reader) message {
		return renew{applied: r.uvarint(), digest: digest(r.take(len(digest{}))), about: r.about()}
	},
	kindClaim: func(r *reader) message {
		m := claim{seats: make([]claimed, 0, r.count())}
		for range cap(m.seats) {
			m.seats = append(m.seats, claimed{seat: r.text(), epoch: r.uvarint(), seen: r.uvarint()})
		}
		return m
	},
	kindRelease: func(r *reader) message {
		m := release{seats: make([]string, 0, r.count())}
		for range cap(m.seats) {
			m.seats = append(m.seats, r.text())
		}
		return m
	},
	kindGone:  func(r *reader) message { return gone{machine: r.text(), seen: r.uvarint()} },
	kindPart:  func(r *reader) message { return part{epoch: r.uvarint(), commits: r.bool(), batch: r.all()} },
	kindAbort: func(r *reader) message { return abort{epoch: r.uvarint()} },
	kindProgress: func(r *reader) message {
		m := progress{items: make([]progressItem, 0, r.count())}
		for range cap(m.items) {
			m.items = append(m.items, progressItem{code: r.text(), epoch: r.uvarint(), update: r.bytes()})
		}
		return m
	},
	kindMeta: func(r *reader) message {
		m := meta{epoch: r.uvarint(), key: r.text()}
		if r.bool() {
			m.value = r.all()
		}
		return m
	},
	kindUnpark: func(r *reader) message {
		m := unpark{epoch: r.uvarint(), seqs: make([]delivery.Seq, 0, r.count())}
		for range cap(m.seqs) {
			m.seqs = append(m.seqs, delivery.Seq(r.uvarint()))
		}
		return m
	},
	kindForgetKept: func(r *reader) message { return forgetKept{epoch: r.uvarint(), lower: r.bytes(), upper: r.all()} },
	kindRetire:     func(r *reader) message { return retire{code: r.text(), epoch: r.uvarint()} },
	kindSnapshot:   func(r *reader) message { return snapshot{object: r.text(), covers: r.uvarint()} },
	kindTurn:       func(r *reader) message { return turn{epoch: r.uvarint(), config: r.text(), note: r.all()} },
}

var errMalformed = errors.New("malformed message")

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// reader takes values off a message. After an error it gives zero values.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.rest) {
		r.err = errMalformed
	}
	if r.err != nil {
		return make([]byte, min(n, len(digest{})))
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte { return r.take(1)[0] }

func (r *reader) bool() bool {
	b := r.byte()
	if b > 1 {
		r.err = errMalformed
	}
	return b == 1
}

func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || n > 1 && r.rest[n-1] == 0 { // each number has one form
		r.err = errMalformed
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count is a number of things that follow, of a byte each at least.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.err = errMalformed
		return 0
	}
	return int(n)
}

// bytes are those that follow their length.
func (r *reader) bytes() []byte {
	n := r.count()
	if r.err != nil {
		return nil
	}
	return r.take(n)
}

func (r *reader) text() string { return string(r.bytes()) }

// all is the rest.
func (r *reader) all() []byte {
	b := r.rest
	r.rest = nil
	return b
}

func (r *reader) about() about {
	a := about{Roles: Roles(r.byte())}
	ms := r.uvarint()
	if ms > math.MaxInt64/uint64(time.Millisecond) {
		r.err = errMalformed
		return a
	}
	a.Lease = time.Duration(ms) * time.Millisecond
	a.Config, a.Address, a.Version = r.text(), r.text(), r.text()
	return a
}
