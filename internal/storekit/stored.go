package storekit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
)

// The versions of the stored forms. A reader refuses a newer one.
const (
	originFormat   = 1
	positionFormat = 1
)

// storedOrigin and storedPosition are the stored forms: one JSON object each,
// which the embedded structs are part of.
type storedOrigin struct {
	Format int `json:"format"`
	gerritstream.Origin
}

type storedPosition struct {
	Format int `json:"format"`
	gerritstream.Position
	gerritstream.Stamp
}

// CheckFormat reads the version of a stored form before anything else of it.
func CheckFormat(raw []byte, known int) error {
	var head struct {
		Format int `json:"format"`
	}
	err := json.Unmarshal(raw, &head)
	switch {
	case err != nil:
		return err
	case head.Format > known:
		return fmt.Errorf("format %d, known up to %d: %w", head.Format, known, gerritstream.ErrNewerFormat)
	case head.Format < 1:
		return fmt.Errorf("format %d", head.Format)
	}
	return nil
}

// EncodeOrigin returns the stored form of an origin.
func EncodeOrigin(o gerritstream.Origin) ([]byte, error) {
	raw, err := json.Marshal(storedOrigin{originFormat, o})
	if err != nil {
		return nil, fmt.Errorf("encode origin: %w", err)
	}
	return raw, nil
}

// DecodeOrigin reads the stored form. ErrNewerFormat: a newer version wrote it.
func DecodeOrigin(raw []byte) (*gerritstream.Origin, error) {
	var stored storedOrigin
	err := CheckFormat(raw, originFormat)
	if err == nil {
		err = json.Unmarshal(raw, &stored)
	}
	if err == nil && stored.Stream.ARN == "" {
		err = errors.New("no stream")
	}
	switch {
	case errors.Is(err, gerritstream.ErrNewerFormat):
		return nil, fmt.Errorf("read origin: %w", err)
	case err != nil:
		return nil, fmt.Errorf("read origin: it is damaged: %w", err)
	}
	return &stored.Origin, nil
}

// SameOrigin reports whether two origins are stored alike; nil: there is none.
func SameOrigin(a, b *gerritstream.Origin) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// StoredEpoch returns the epoch of a stored origin, even of a newer format. It
// is 0, which ends no other epoch, for an origin that is absent or damaged.
func StoredEpoch(raw []byte) int {
	var origin struct {
		Epoch int `json:"epoch"`
	}
	if json.Unmarshal(raw, &origin) != nil {
		return 0
	}
	return origin.Epoch
}

// CheckEpoch returns ErrStaleEpoch if an epoch is before the origin's.
func CheckEpoch(epoch, current int) error {
	if epoch < current {
		return fmt.Errorf("epoch %d, the origin is of epoch %d: %w", epoch, current, gerritstream.ErrStaleEpoch)
	}
	return nil
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
func DecodePosition(raw []byte) (gerritstream.Position, gerritstream.Stamp, error) {
	var stored storedPosition
	err := CheckFormat(raw, positionFormat)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		err = dec.Decode(&stored)
	}
	if err == nil {
		err = stored.check()
	}
	switch {
	case errors.Is(err, gerritstream.ErrNewerFormat):
		return gerritstream.Position{}, gerritstream.Stamp{}, fmt.Errorf("decode position: %w", err)
	case err != nil:
		return gerritstream.Position{}, gerritstream.Stamp{},
			fmt.Errorf("decode position: %w: %w", gerritstream.ErrBadPosition, err)
	}
	return stored.Position, stored.Stamp, nil
}

// ReadPosition reads the stored form for a store's reader: a damaged one is a
// position with Unreadable set, one of a newer version an error.
func ReadPosition(raw []byte) (gerritstream.Position, error) {
	pos, _, err := DecodePosition(raw)
	switch {
	case errors.Is(err, gerritstream.ErrNewerFormat):
		return gerritstream.Position{}, err
	case err != nil:
		return gerritstream.Position{Unreadable: err}, nil
	}
	return pos, nil
}

// StoredPosition reads the stored form for an operator: whatever cannot be
// read, even of a newer version, is a position with Unreadable set.
func StoredPosition(raw []byte, committed time.Time) gerritstream.StoredPosition {
	pos, stamp, err := DecodePosition(raw)
	if err != nil {
		pos = gerritstream.Position{Unreadable: err}
	}
	return gerritstream.StoredPosition{Position: pos, Stamp: stamp, Committed: committed}
}

// maxText is more than any version writes of a Why or a nonce.
const maxText = 64

// check refuses what no version of this program would have written, so that a
// position that passes is small wherever it is stored again.
func (s *storedPosition) check() error {
	if len(s.Nonce) > maxText {
		return fmt.Errorf("nonce of %d bytes", len(s.Nonce))
	}
	if len(s.Lost) > gerritstream.MaxLost {
		return fmt.Errorf("%d intervals possibly lost, the maximum is %d", len(s.Lost), gerritstream.MaxLost)
	}
	for _, i := range s.Lost {
		if len(i.Why) > maxText {
			return fmt.Errorf("interval possibly lost with a reason of %d bytes", len(i.Why))
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
		return fmt.Errorf("neither a sequence number nor a starting position")
	}
	if s.Partial != nil {
		if _, err := gerritstream.ParseSequenceNumber(string(s.Partial.Seq)); err != nil {
			return err
		}
		if s.Partial.Sub < 0 || s.Partial.Seq.Compare(s.After) <= 0 {
			return fmt.Errorf("partial record %s/%d is not after %s", s.Partial.Seq, s.Partial.Sub, s.After)
		}
	}
	return nil
}
