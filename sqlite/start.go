package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// readStart reads the start record; nil: there is none.
func readStart(ctx context.Context, q querier) (*gerritstream.Origin, error) {
	var record []byte
	err := q.QueryRowContext(ctx, `SELECT record FROM start`).Scan(&record)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return storekit.DecodeOrigin(record)
}

// Origin implements gerritstream.Store.
func (s *Store) Origin(ctx context.Context) (gerritstream.Origin, bool, error) {
	if err := s.inPlace(); err != nil {
		return gerritstream.Origin{}, false, err
	}
	start, err := readStart(ctx, s.reading)
	if err != nil || start == nil {
		return gerritstream.Origin{}, false, explainRead(s.path, err)
	}
	return *start, true, nil
}

// SetOrigin implements gerritstream.Store.
func (s *Store) SetOrigin(ctx context.Context, prev *gerritstream.Origin, next gerritstream.Origin) error {
	record, err := storekit.EncodeOrigin(next)
	if err != nil {
		return err
	}
	return s.write(ctx, storekit.PointSetOrigin, func(st *statements) error {
		var raw []byte
		ok, err := st.get(st.getStart, nil, []any{&raw})
		if err != nil {
			return err
		}
		var held *gerritstream.Origin
		if ok {
			if held, err = storekit.DecodeOrigin(raw); err != nil {
				return err
			}
		}
		if !storekit.SameOrigin(held, prev) {
			return fmt.Errorf("set start: %w", gerritstream.ErrConflict)
		}
		return st.exec(st.setStart, string(record))
	})
}
