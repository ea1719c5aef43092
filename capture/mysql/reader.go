package mysql

import (
	"context"
	"errors"

	"rowhook/capture"
)

// Reader returns a reader.
func (s *Source) Reader() capture.Reader { return noReader{} }

type noReader struct{}

var errNoReader = &capture.OperatorError{Err: errors.New("existing rows of MySQL and MariaDB cannot be read in this version"), Remedy: "backfill and trigger are for PostgreSQL; let the application touch the rows, so that they come as updates"}

func (noReader) Settle(context.Context, func(string)) error { return errNoReader }
func (noReader) Describe(context.Context, string) (*capture.Readable, error) {
	return nil, errNoReader
}
func (noReader) Read(context.Context, *capture.ReadRequest) (*capture.Chunk, error) {
	return nil, errNoReader
}
func (noReader) Close() {}
