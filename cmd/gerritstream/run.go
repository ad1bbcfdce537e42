package main

import (
	"context"
	"errors"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/internal/telemetry"
)

func newRun(p process) *cobra.Command {
	var untilCaughtUp bool
	var trial trial
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Read a stream into the store, until interrupted",
		Long: `Read a stream into the store: elect a reader for each shard among all processes on the same store, and
queue every event once, until interrupted. On SIGINT or SIGTERM the process commits what is in flight, gives up its
leaderships and exits with code 0 within 5 seconds; a second signal ends it at once.

Flags override environment variables, which override the file named by --config, which overrides the zuul.conf named by
--zuul-conf. The variable of a setting is ` + config.EnvPrefix + ` and its key in the file, in capitals: aws.region
is $` + config.EnvPrefix + `AWS_REGION. Of a zuul.conf only ZooKeeper and one connection with aws_kinesis_region are
read; --connection chooses among several. No zuul.conf is read unless it is named. Credentials are looked for where
AWS' own tools look: $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY, ~/.aws, web identity, container, instance. They
are never given as flags, because every user of a host can see flags. docs/configuration.md explains each setting.
If OpenTelemetry's variables name a collector, as $OTEL_EXPORTER_OTLP_ENDPOINT does, it gets a span of each commit.`,
		Example: `  gerritstream run --stream gerrit --region us-west-2
  gerritstream run --config /etc/gerritstream/gerrit.yaml
  gerritstream run --stream gerrit --region us-west-2 \
      --store 'postgres://gerritstream@db.example.org/events'
  gerritstream run --zuul-conf /etc/zuul/zuul.conf --connection gerrit
  gerritstream run --stream gerrit --endpoint http://127.0.0.1:4567 --region us-east-1 \
      --store sqlite:gerrit.db --start-at trim-horizon --until-caught-up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(sources(cmd, p))
			traces, faults := tracesOf(p)
			if err := errors.Join(err, faults); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			o := daemon.Options{Config: c, UntilCaughtUp: untilCaughtUp, Traces: traces}
			return runDaemon(ctx, p, o, trial)
		},
	}
	cmd.Flags().BoolVar(&untilCaughtUp, "until-caught-up", false, "end once all that had arrived before is queued")
	trial.register(cmd)
	settingFlags(cmd, config.ForRun)
	return cmd
}

// tracesOf reads OpenTelemetry's variables. Its error is of type config.Faults.
func tracesOf(p process) (*telemetry.Config, error) {
	c, err := telemetry.FromEnviron(p.environ)
	var found telemetry.Faults
	if !errors.As(err, &found) {
		return c, err
	}
	faults := make(config.Faults, len(found))
	for i, f := range found {
		faults[i] = config.Fault{Place: config.Place{Name: "$" + f.Variable}, Problem: f.Problem}
	}
	return c, faults
}

// runDaemon builds a daemon and runs it to its end.
func runDaemon(ctx context.Context, p process, o daemon.Options, trial trial) (err error) {
	signal.Ignore(syscall.SIGPIPE) // when the reader of standard output goes away the daemon stops in order
	o.Version, o.Stdout, o.Logger = readBuild().Version, p.stdout, newLogger(p, o.Config.Log)
	end, err := trial.apply(p, &o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	d, err := daemon.New(ctx, o)
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil // interrupted before it began
	case err != nil:
		return err
	}
	return d.Run(ctx)
}
