package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// Report implements gerritstream.Store.
func (s *Store) Report(ctx context.Context, status gerritstream.Status) error {
	report, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return s.write(ctx, storekit.PointReport, func(st *statements) error {
		if err := s.writeBeat(st); err != nil { // makes the process' row if it was forgotten
			return err
		}
		return st.exec(st.report, string(report), s.config.Now().UnixMilli(), s.id)
	})
}
