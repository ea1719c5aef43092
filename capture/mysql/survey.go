package mysql

import (
	"context"

	"rowhook/capture"
)

// Survey describes the mapped tables and what is still amiss with them. It asks with our own login,
// whatever setup's is: what that may see is what counts.
func (s *Source) Survey(ctx context.Context, _ string, patterns []string) ([]*capture.Table, []capture.Finding, error) {
	tables, err := s.Tables(ctx, patterns)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.Drift(ctx, patterns)
	if err != nil {
		return nil, nil, err
	}
	return tables, found, nil
}
