package zookeeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
)

// startFormat is the version of the stored start record. A newer one is
// refused.
const originFormat = 1

// storedStart is the start record as stored: one JSON object.
type storedOrigin struct {
	Format int `json:"format"`
	gerritstream.Origin
}

func encodeOrigin(start gerritstream.Origin) ([]byte, error) {
	record, err := json.Marshal(storedOrigin{originFormat, start})
	if err != nil {
		return nil, fmt.Errorf("encode start record: %w", err)
	}
	return record, nil
}

func decodeOrigin(record []byte) (*gerritstream.Origin, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(record, &head); err != nil {
		return nil, fmt.Errorf("read start record: it is damaged: %w", err)
	}
	if head.Format > originFormat {
		return nil, fmt.Errorf("read start record: format %d, known up to %d: %w", head.Format, originFormat, gerritstream.ErrNewerFormat)
	}
	var stored storedOrigin
	if err := json.Unmarshal(record, &stored); err != nil {
		return nil, fmt.Errorf("read start record: it is damaged: %w", err)
	}
	if head.Format < 1 || stored.Stream.ARN == "" {
		return nil, errors.New("read start record: it is damaged: no format, or no stream")
	}
	return &stored.Origin, nil
}

// readStart reads the start record; nil: there is none.
func (s *Store) readOrigin(ctx context.Context, sess *session) (*gerritstream.Origin, int32, error) {
	n, err := sess.get(ctx, s.at.origin())
	if err != nil || !n.present {
		return nil, absent, err
	}
	start, err := decodeOrigin(n.data)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.at.origin(), err)
	}
	return start, n.stat.Version, err
}

// epochIn is the epoch of a start record, of a newer format as well. There is
// none, or it cannot be read: 0, which ends no epoch.
func epochIn(start node) int {
	var record struct {
		Epoch int `json:"epoch"`
	}
	if !start.present || json.Unmarshal(start.data, &record) != nil {
		return 0
	}
	return record.Epoch
}

// inEpoch returns ErrStaleEpoch if the start record is of a later epoch than
// the term. Otherwise the term goes by this version of the record.
func (t *term) checkOrigin(start node) error {
	if current := epochIn(start); current > t.epoch {
		return fmt.Errorf("epoch %d, and the start record is of epoch %d: %w", t.epoch, current, gerritstream.ErrStaleEpoch)
	}
	t.originVersion = absent
	if start.present {
		t.originVersion = start.stat.Version
	}
	return nil
}

// guardEpoch has a transaction refused if the start record is not the one that
// the term goes by. Where there was none, nothing can be checked: see
// checkEpoch.
func (t *term) guardEpoch(x *transaction) {
	if t.originVersion != absent {
		x.add(opOrigin, &zk.CheckVersionRequest{Path: t.store.at.origin(), Version: t.originVersion})
	}
}

// maxStarts is how often in one commit the start record may be found changed.
const maxOriginChanges = 5

// checkEpoch reads the start record again: a transaction was refused for it, or
// the term knows of none. In that case nothing is asked while no watch says
// that there is one: the term heeds it from the first commit on that begins
// after the session was told. It waits for the connection. ErrStaleEpoch and
// ErrLeadershipLost: the epoch is over.
func (t *term) checkEpoch(ctx context.Context) error {
	for {
		var err error
		if t.originVersion != absent { // another process has changed it, maybe through another server
			err = t.session.sync(ctx)
		}
		var start node
		if err == nil {
			start, _, err = t.session.watchGet(ctx, t.store.at.origin())
		}
		switch f := outcomeOf(err); {
		case f == succeeded:
			if err := t.checkOrigin(start); err != nil {
				return fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, err)
			}
			return nil
		case f == refused, f == sessionOver:
			return err
		case !wait(ctx, 50*time.Millisecond):
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// errStartMoves: whatever was tried, the start record had changed again.
// Nothing was written.
var errOriginChanging = fmt.Errorf("%w: the start record keeps changing", gerritstream.ErrRetryLater)

// Origin implements gerritstream.Store.
func (s *Store) Origin(ctx context.Context) (start gerritstream.Origin, ok bool, err error) {
	err = s.call(ctx, func(ctx context.Context, sess *session) error {
		if err := sess.sync(ctx); err != nil { // another process may have set it through another server
			return err
		}
		record, _, err := s.readOrigin(ctx, sess)
		if record != nil {
			start, ok = *record, true
		}
		return err
	})
	return start, ok, err
}

// SetOrigin implements gerritstream.Store.
func (s *Store) SetOrigin(ctx context.Context, prev *gerritstream.Origin, next gerritstream.Origin) error {
	record, err := encodeOrigin(next)
	if err != nil {
		return err
	}
	err = s.call(ctx, func(ctx context.Context, sess *session) error {
		return s.write(pointSetOrigin, func() error { return s.setOrigin(ctx, sess, prev, record) })
	})
	if err != nil {
		return fmt.Errorf("set start: %w", err)
	}
	return nil
}

func (s *Store) setOrigin(ctx context.Context, sess *session, prev *gerritstream.Origin, record []byte) error {
	if err := sess.sync(ctx); err != nil {
		return err
	}
	held, version, err := s.readOrigin(ctx, sess)
	if err != nil {
		return err
	}
	if same, err := sameOrigin(held, prev); err != nil {
		return err
	} else if !same {
		return gerritstream.ErrConflict
	}
	if held == nil {
		if err := sess.ensure(ctx, s.at.own); err != nil {
			sess.forget()
			return err
		}
		err = sess.create(ctx, s.at.origin(), record, zk.FlagPersistent)
	} else {
		err = sess.set(ctx, s.at.origin(), record, version)
	}
	if outcomeOf(err) == refused && isConflict(err) {
		sess.forget()
		return gerritstream.ErrConflict
	}
	return err
}

// sameStart compares the stored start record with what a caller believes to be
// there.
func sameOrigin(held, prev *gerritstream.Origin) (bool, error) {
	if held == nil || prev == nil {
		return held == nil && prev == nil, nil
	}
	a, err := json.Marshal(held)
	if err != nil {
		return false, err
	}
	b, err := json.Marshal(prev)
	return bytes.Equal(a, b), err
}
