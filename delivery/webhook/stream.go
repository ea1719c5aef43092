package webhook

import (
	"bufio"
	"compress/gzip"
	"io"

	"rowhook/delivery"
)

// streamPiece is how much of a streamed body is written at a time.
const streamPiece = 32 << 10

// streamBody is a body that is rendered while it is sent.
type streamBody struct {
	*io.PipeReader
	done chan struct{}
}

// openStream begins to render a body. Compressed, its length is not known beforehand.
func openStream(stream *delivery.Stream, zipped bool) *streamBody {
	in, out := io.Pipe()
	b := &streamBody{PipeReader: in, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		out.CloseWithError(writeStream(out, stream, zipped))
	}()
	return b
}

func writeStream(out io.Writer, stream *delivery.Stream, zipped bool) error {
	pieces := bufio.NewWriterSize(out, streamPiece)
	if !zipped {
		if err := stream.Write(pieces); err != nil {
			return err
		}
		return pieces.Flush()
	}
	zip := gzip.NewWriter(pieces)
	if err := stream.Write(zip); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return pieces.Flush()
}

// end stops the rendering and waits until nothing uses the body any more.
func (b *streamBody) end() {
	b.CloseWithError(io.ErrClosedPipe)
	<-b.done
}
