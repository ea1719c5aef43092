package delivery

// Away says of an event whose objects are too large to be held how large they are. They lie in the
// store, see [Store.Payload].
type Away struct {
	// Sizes are those of the parts, in bytes; -1 where the event has no such part.
	Sizes [Parts]int64
}

// Part is one of an event's large parts.
type Part uint8

// The parts of an event that may be away.
const (
	PartData Part = iota
	PartPrevious
	PartShape
	PartMarks
	Parts // how many there are
)

// LargePayload is how large an event's objects are together that are not held but stored in pieces.
const LargePayload = 1 << 20

// Parts returns the event's parts, to be read or set.
func (e *Event) Parts() [Parts]*[]byte {
	return [...]*[]byte{&e.Data, &e.Previous, &e.Shape, &e.Marks}
}

// PayloadSize is how large the event's parts are together, wherever they are.
func (e *Event) PayloadSize() (size int64) {
	if e.Away != nil {
		for _, n := range e.Away.Sizes {
			size += max(n, 0)
		}
		return size
	}
	for _, part := range e.Parts() {
		size += int64(len(*part))
	}
	return size
}

// WithoutPayload returns the event as it is held while its parts are away.
func (e *Event) WithoutPayload() *Event {
	away := &Away{}
	light := *e
	for i, part := range light.Parts() {
		away.Sizes[i] = int64(len(*part))
		if *part == nil {
			away.Sizes[i] = -1
		}
		*part = nil
	}
	light.Away = away
	return &light
}

// WithPayload returns the event with its parts, which are read into memory where they are away.
func (e *Event) WithPayload(read func(part Part, yield func(piece []byte) error) error) (*Event, error) {
	if e.Away == nil {
		return e, nil
	}
	all := make([]byte, 0, e.PayloadSize())
	full := *e
	full.Away = nil
	for i, part := range full.Parts() {
		if e.Away.Sizes[i] < 0 {
			continue
		}
		start := len(all)
		err := read(Part(i), func(piece []byte) error {
			all = append(all, piece...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		*part = all[start:len(all):len(all)]
	}
	return &full, nil
}
