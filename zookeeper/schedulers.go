package zookeeper

import (
	"context"
	"errors"
	"fmt"
)

// Schedulers returns how many of Zuul's schedulers are registered. They consume
// the queue. It waits a few seconds for a server, and writes nothing.
func Schedulers(ctx context.Context, config Config) (n int, err error) {
	s, err := Open(ctx, config)
	if err != nil {
		return 0, err
	}
	err = s.look(ctx, func(ctx context.Context, sess *session) error {
		names, err := sess.children(ctx, s.at.component("scheduler"))
		n = len(names)
		return err
	})
	if err != nil {
		err = fmt.Errorf("look for Zuul's schedulers: %w", err)
	}
	return n, errors.Join(err, s.Close(ctx))
}
