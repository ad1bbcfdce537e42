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
	gerritstream.Origin
}

func decodeStart(record []byte) (*gerritstream.Origin, error) {
	var stored storedStart
	if err := json.Unmarshal(record, &stored); err != nil {
		return nil, fmt.Errorf("read start record: %w", err)
	}
	if stored.Format > startFormat {
		return nil, fmt.Errorf("read start record: format %d, known up to %d: %w", stored.Format, startFormat, gerritstream.ErrNewerFormat)
	}
	return &stored.Origin, nil
}

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
	return decodeStart(record)
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
func sameStart(ok bool, held []byte, prev *gerritstream.Origin) (bool, error) {
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
