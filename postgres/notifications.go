package postgres

import (
	"context"
	"time"

	"github.com/gerritstream/gerritstream/internal/storekit"
)

// notifications wake the watcher when another process has changed something
// that others may wait for: a lease, a candidacy, member info, or the end of a
// shard. Commits of events notify nobody.
//
// Nothing depends on them. A pooler passes none on, and one may get lost: only
// the tables count, and the watcher looks into them by itself as well.
type notifications struct{ store *Store }

const (
	listenAgain  = time.Second                // pause before another attempt to connect
	noticeSettle = 10 * time.Millisecond      // notifications that come within count as one
	noticeCheck  = 5 * time.Minute            // how often the connection is asked whether it lives
	noticeAnswer = 5 * time.Second            // how long it may take to answer
	notifyEnded  = `SELECT pg_notify($1, '')` // for what no trigger sees
)

// run wakes the watcher at each notification, for the life of the store.
func (o *notifications) run() {
	s := o.store
	for failed := false; s.life.Err() == nil; {
		err := o.listen(func() { failed = false })
		s.tables.notified.Store(false)
		if s.life.Err() == nil && !failed {
			s.log.Debug("not woken by other processes any more; noticing them later", "err", err)
		}
		failed = true
		storekit.Sleep(s.life, listenAgain)
	}
}

// listen wakes the watcher until the connection is lost. begun is called once
// it listens.
func (o *notifications) listen(begun func()) error {
	s := o.store
	ctx, cancel := context.WithTimeout(s.life, connectTimeout)
	defer cancel()
	conn, err := connectOnce(ctx, &s.config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+quote(s.config.Schema)); err != nil {
		return err
	}
	begun()
	s.tables.notified.Store(true)
	s.watcher.Wake() // for what was missed
	for {
		wait, cancel := context.WithTimeout(s.life, noticeCheck)
		_, err := conn.WaitForNotification(wait)
		expired := wait.Err() != nil && s.life.Err() == nil
		cancel()
		switch {
		case err == nil:
			s.watcher.Wake()
			if !storekit.Sleep(s.life, noticeSettle) {
				return nil
			}
		case expired:
			answer, cancel := context.WithTimeout(s.life, noticeAnswer)
			err := conn.Ping(answer)
			cancel()
			if err != nil {
				return err
			}
		default:
			return err
		}
	}
}
