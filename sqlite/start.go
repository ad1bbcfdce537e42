package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/gerritstream/gerritstream"
)

// startFormat is the version of the stored start record. A newer one is
// refused.
const startFormat = 1

// storedStart is the start record as stored: one JSON object.
type storedStart struct {
	Format int `json:"format"`
	gerritstream.Start
}

func decodeStart(record []byte) (*gerritstream.Start, error) {
	var stored storedStart
	if err := json.Unmarshal(record, &stored); err != nil {
		return nil, fmt.Errorf("read start record: %w", err)
	}
	if stored.Format > startFormat {
		return nil, fmt.Errorf("read start record: format %d, known up to %d: %w", stored.Format, startFormat, gerritstream.ErrNewerFormat)
	}
	return &stored.Start, nil
}

// readStart reads the start record; nil: there is none.
func readStart(ctx context.Context, q querier) (*gerritstream.Start, error) {
	var record []byte
	err := q.QueryRowContext(ctx, `SELECT record FROM start`).Scan(&record)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return decodeStart(record)
}

// Start implements gerritstream.Store.
func (s *Store) Start(ctx context.Context) (gerritstream.Start, bool, error) {
	if err := s.inPlace(); err != nil {
		return gerritstream.Start{}, false, err
	}
	start, err := readStart(ctx, s.reading)
	if err != nil || start == nil {
		return gerritstream.Start{}, false, explainRead(s.path, err)
	}
	return *start, true, nil
}

// SetStart implements gerritstream.Store.
func (s *Store) SetStart(ctx context.Context, prev *gerritstream.Start, next gerritstream.Start) error {
	record, err := json.Marshal(storedStart{startFormat, next})
	if err != nil {
		return fmt.Errorf("encode start record: %w", err)
	}
	return s.write(ctx, pointSetStart, func(st *statements) error {
		var held []byte
		ok, err := st.get(st.getStart, nil, []any{&held})
		if err != nil {
			return err
		}
		if same, err := sameStart(ok, held, prev); err != nil {
			return err
		} else if !same {
			return fmt.Errorf("set start: %w", gerritstream.ErrConflict)
		}
		return st.exec(st.setStart, string(record))
	})
}

// sameStart compares the stored start record, if there is one, with what a
// caller believes to be there.
func sameStart(ok bool, held []byte, prev *gerritstream.Start) (bool, error) {
	if !ok || prev == nil {
		return !ok && prev == nil, nil
	}
	start, err := decodeStart(held)
	if err != nil {
		return false, err
	}
	a, err := json.Marshal(start)
	if err != nil {
		return false, err
	}
	b, err := json.Marshal(prev)
	return bytes.Equal(a, b), err
}
