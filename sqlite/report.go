package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gerritstream/gerritstream"
)

// Report implements gerritstream.Store.
func (s *Store) Report(ctx context.Context, status gerritstream.Status) error {
	report, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return s.write(ctx, pointReport, func(st *statements) error {
		if err := s.writeBeat(st); err != nil { // makes the process' row if it was forgotten
			return err
		}
		return st.exec(st.report, string(report), milliseconds(s.config.Now()), s.id)
	})
}
