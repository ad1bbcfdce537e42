package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// bench is what a demonstration works with.
type bench struct {
	stream   *demoStream
	database string
	log      *demoLogger
}

// daemon returns what `run` runs, on the embedded stream.
func (b *bench) daemon(ctx context.Context, observer consumer.Observer, untilCaughtUp bool) (*daemon.Daemon, error) {
	c := config.Defaults()
	c.Kinesis.Stream, c.Kinesis.Region = demoStreamName, demoRegion
	c.StartAt.TrimHorizon = true
	c.Admin = config.AdminOff
	if err := c.Store.Set("sqlite:" + b.database); err != nil {
		return nil, err
	}
	defer b.log.quiet()()
	return daemon.New(ctx, daemon.Options{
		Config:        c,
		UntilCaughtUp: untilCaughtUp,
		Version:       readBuild().Version,
		Logger:        b.log.Logger,
		Observer:      observer,
		Transport:     b.stream.server.Transport(),
	})
}

// demoLogger logs what goes wrong, for the lines of a demonstration say the
// rest.
type demoLogger struct {
	*slog.Logger
	level slog.LevelVar
}

func newDemoLogger(w io.Writer) *demoLogger {
	l := &demoLogger{}
	l.level.Set(slog.LevelWarn)
	l.Logger = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: &l.level}))
	return l
}

// quiet keeps to errors until loud is called: that a temporary folder does not
// outlive a restart, or that a container has little memory, is no news in a
// demonstration.
func (l *demoLogger) quiet() (loud func()) {
	l.level.Set(slog.LevelError)
	return func() { l.level.Set(slog.LevelWarn) }
}
