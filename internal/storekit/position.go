package storekit

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gerritstream/gerritstream"
)

// positionFormat is the version of the stored form. A reader refuses a newer
// one.
const positionFormat = 1

// storedPosition is the stored form: one JSON object.
type storedPosition struct {
	Format int `json:"format"`
	gerritstream.Position
	gerritstream.Stamp
}

// EncodePosition returns the stored form of a position, a JSON object of less
// than 8 KiB.
func EncodePosition(p gerritstream.Position, s gerritstream.Stamp) []byte {
	b, err := json.Marshal(storedPosition{Format: positionFormat, Position: p, Stamp: s})
	if err != nil { // a time beyond year 9999: no service sends one
		panic(fmt.Sprintf("encode position: %v", err))
	}
	return b
}

// DecodePosition reads the stored form. ErrNewerFormat: a newer version wrote
// it; ErrBadPosition: it is damaged.
func DecodePosition(b []byte) (gerritstream.Position, gerritstream.Stamp, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return gerritstream.Position{}, gerritstream.Stamp{}, fmt.Errorf("decode position: %w: %w", gerritstream.ErrBadPosition, err)
	}
	if head.Format > positionFormat {
		return gerritstream.Position{}, gerritstream.Stamp{}, fmt.Errorf("decode position: format %d, known up to %d: %w", head.Format, positionFormat, gerritstream.ErrNewerFormat)
	}
	var stored storedPosition
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&stored); err != nil {
		return gerritstream.Position{}, gerritstream.Stamp{}, fmt.Errorf("decode position: %w: %w", gerritstream.ErrBadPosition, err)
	}
	if err := stored.check(); err != nil {
		return gerritstream.Position{}, gerritstream.Stamp{}, fmt.Errorf("decode position: %w: %w", gerritstream.ErrBadPosition, err)
	}
	return stored.Position, stored.Stamp, nil
}

// maxText is more than any version writes of a Why or a nonce.
const maxText = 64

// check reports what no version of this program would have written. What is
// left is small, wherever it is stored again.
func (s *storedPosition) check() error {
	if s.Format < 1 {
		return fmt.Errorf("format %d", s.Format)
	}
	if len(s.Nonce) > maxText {
		return fmt.Errorf("a nonce of %d bytes", len(s.Nonce))
	}
	if len(s.Lost) > gerritstream.MaxLost {
		return fmt.Errorf("%d intervals that may be lost, more than %d", len(s.Lost), gerritstream.MaxLost)
	}
	for _, i := range s.Lost {
		if len(i.Why) > maxText {
			return fmt.Errorf("an interval that may be lost has a reason of %d bytes", len(i.Why))
		}
	}
	if s.After != "" {
		if _, err := gerritstream.ParseSequenceNumber(string(s.After)); err != nil {
			return err
		}
		if s.Arrived.IsZero() && s.CheckpointedAt.IsZero() {
			return fmt.Errorf("sequence number without an arrival time")
		}
	} else if !s.From.TrimHorizon && s.From.Time.IsZero() {
		return fmt.Errorf("neither a sequence number nor a point to start from")
	}
	if s.Partial != nil {
		if _, err := gerritstream.ParseSequenceNumber(string(s.Partial.Seq)); err != nil {
			return err
		}
		if s.Partial.Sub < 0 || s.Partial.Seq.Compare(s.After) <= 0 {
			return fmt.Errorf("partial record %s/%d is not behind %s", s.Partial.Seq, s.Partial.Sub, s.After)
		}
	}
	return nil
}
