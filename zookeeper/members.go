package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
)

// What a process says of itself stands in nodes that go with its session: its
// announcement below members, which others watch, and its report below reports,
// which nobody does. In a new session both are made anew.

// memberFormat is the version of the stored form of an announcement.
const memberFormat = 1

type storedMember struct {
	Format int `json:"format"`
	gerritstream.MemberInfo
}

// Advertise implements gerritstream.Group. What was announced is remembered, and
// announced again in each new session.
func (s *Store) Advertise(ctx context.Context, a gerritstream.MemberInfo) error {
	data, err := json.Marshal(storedMember{memberFormat, a})
	if err != nil {
		return fmt.Errorf("encode announcement: %w", err)
	}
	s.mu.Lock()
	s.memberData = data
	s.mu.Unlock()
	err = s.call(ctx, func(ctx context.Context, sess *session) error {
		return s.write(pointAdvertise, func() error {
			return s.publish(ctx, sess, func() []byte { return s.memberData }, s.at.members(), s.process)
		})
	})
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// Report implements gerritstream.Store.
func (s *Store) Report(ctx context.Context, status gerritstream.Status) error {
	data, err := encodeReport(gerritstream.Report{Process: s.config.Process, At: s.config.Now().UTC(), Status: status})
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	err = s.call(ctx, func(ctx context.Context, sess *session) error {
		return s.write(pointReport, func() error {
			return s.publish(ctx, sess, func() []byte { return data }, s.at.reports(), s.process)
		})
	})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	s.mu.Lock()
	s.reportData = data
	s.mu.Unlock()
	return nil
}

// encodeReport returns a report as it is stored. One that does not fit into a
// node tells of fewer shards.
func encodeReport(r gerritstream.Report) ([]byte, error) {
	for {
		data, err := json.Marshal(r)
		if err != nil || len(data) <= maxRequest || len(r.Status.Shards) == 0 {
			return data, err
		}
		r.Status.Shards = r.Status.Shards[:len(r.Status.Shards)/2]
	}
}

// republish makes the nodes of this process anew in a new session.
func (s *Store) republish(sess *session) {
	for !sess.isOver() && !s.stopped() {
		err := s.publish(s.life, sess, func() []byte { return s.memberData }, s.at.members(), s.process)
		if err == nil {
			err = s.publish(s.life, sess, func() []byte { return s.reportData }, s.at.reports(), s.process)
		}
		if err == nil || !wait(s.life, time.Second) {
			return
		}
		s.log.Debug("announcement not made anew", "err", err)
	}
}

// publish makes or changes a node that goes with the session. data, called
// under mu, returns the newest; nil: nothing.
func (s *Store) publish(ctx context.Context, sess *session, data func() []byte, dir, id string) error {
	select {
	case s.publishing <- struct{}{}: // so that an older one never comes behind a newer one
		defer func() { <-s.publishing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	newest := data()
	s.mu.Unlock()
	if newest == nil {
		return nil
	}
	path := dir + "/" + id
	err := sess.set(ctx, path, newest, -1)
	if !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	if err := sess.ensure(ctx, dir); err != nil {
		return err
	}
	if err := sess.create(ctx, path, newest, zk.FlagEphemeral); err != nil {
		sess.forget() // in case the folder was deleted
		return err
	}
	return nil
}

// decodeMember reads an announcement. One that cannot be understood is a member
// all the same.
func decodeMember(id string, data []byte) gerritstream.Member {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return gerritstream.Member{ID: id, Damaged: fmt.Errorf("read announcement of %s: %w", id, err)}
	}
	if head.Format > memberFormat {
		return gerritstream.Member{ID: id, Damaged: fmt.Errorf("read announcement of %s: format %d, known up to %d: %w",
			id, head.Format, memberFormat, gerritstream.ErrNewerFormat)}
	}
	var stored storedMember
	if err := json.Unmarshal(data, &stored); err != nil || head.Format < 1 {
		return gerritstream.Member{ID: id, Damaged: fmt.Errorf("read announcement of %s: it is damaged", id)}
	}
	return gerritstream.Member{ID: id, Info: stored.MemberInfo}
}
