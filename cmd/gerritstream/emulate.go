package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// emulation holds the flags of `emulate`.
type emulation struct {
	addr     string
	stream   string
	shards   int
	region   string
	account  string
	traffic  traffic
	noLimits bool
	cert     string // a PEM file; "": without TLS
	key      string // the certificate's key, likewise
}

func newEmulate(p process) *cobra.Command {
	var e emulation
	cmd := &cobra.Command{
		Use:   "emulate",
		Short: "Serve an embedded Kinesis, for experiments and tests",
		Long: `Serve an embedded Kinesis for the AWS command line, the SDKs and "gerritstream run --endpoint". It has
the limits and quirks of the real one, keeps everything in memory and accepts any credentials.

With --traffic it publishes made-up Gerrit events into the stream, of every type in lifelike proportions and with a few
bad records among them, and keeps them for an hour.

It prints one line on standard output when it is ready, and ends on SIGINT or SIGTERM.`,
		Example: `  gerritstream emulate --addr 127.0.0.1:4567 --stream gerrit --shards 4

  gerritstream emulate --stream gerrit --shards 4 --traffic 20/s

  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
  export AWS_DEFAULT_REGION=us-east-1
  aws --endpoint-url http://127.0.0.1:4567 kinesis put-record --stream-name gerrit \
      --partition-key ref-updated --data fileb://event.json
  gerritstream run --endpoint http://127.0.0.1:4567 --stream gerrit --start-at trim-horizon`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.check(); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return e.run(ctx, p.stdout)
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.addr, "addr", "127.0.0.1:4567", "`address` to serve at, HOST:PORT; with port 0 at any free one")
	f.StringVar(&e.stream, "stream", "", "create a stream of this `name`")
	f.IntVar(&e.shards, "shards", 1, "`number` of its shards")
	f.Var(&e.traffic, "traffic", "publish made-up events into it at this `rate`: 20/s, 300/m")
	f.StringVar(&e.region, "region", "us-east-1", "`region` in ARNs")
	f.StringVar(&e.account, "account", "000000000000", "`account` in ARNs")
	f.StringVar(&e.cert, "tls-cert", "", "PEM `file` with a certificate: serve over TLS, HTTP/2 included")
	f.StringVar(&e.key, "tls-key", "", "PEM `file` with the certificate's key")
	f.BoolVar(&e.noLimits, "no-limits", false, "do not limit calls and bytes per second")
	return cmd
}

// maxShards is AWS' largest quota.
const maxShards = 20_000

var (
	streamRule  = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
	accountRule = regexp.MustCompile(`^[0-9]{12}$`)
)

// check refuses what a real Kinesis would refuse.
func (e *emulation) check() error {
	_, _, err := net.SplitHostPort(e.addr)
	switch {
	case err != nil:
		return fmt.Errorf("--addr %q is not an address such as 127.0.0.1:4567", e.addr)
	case e.stream != "" && !streamRule.MatchString(e.stream):
		return fmt.Errorf("--stream %q is not a stream's name: 1 to 128 letters, digits, '_', '.' and '-'", e.stream)
	case e.traffic != 0 && e.stream == "":
		return errors.New("--traffic needs a --stream to publish into")
	case e.shards < 1 || e.shards > maxShards:
		return fmt.Errorf("--shards %d is not between 1 and %d", e.shards, maxShards)
	case !accountRule.MatchString(e.account):
		return fmt.Errorf("--account %q is not twelve digits", e.account)
	case (e.cert == "") != (e.key == ""):
		return errors.New("--tls-cert and --tls-key must be given together")
	}
	return nil
}

// run serves until ctx ends.
func (e *emulation) run(ctx context.Context, stdout io.Writer) error {
	emulator := kinesistest.New(kinesistest.Options{
		Region: e.region, Account: e.account, NoLimits: e.noLimits, ShardLimit: maxShards,
	})
	if e.stream != "" {
		if _, err := emulator.CreateStream(e.stream, e.shards); err != nil {
			return err
		}
	}
	publish := func(context.Context) error { return nil }
	if e.traffic != 0 {
		stream, err := fleetingStream(emulator, e.stream)
		if err != nil {
			return err
		}
		publish = func(ctx context.Context) error { return newTraffic(stream).pace(ctx, e.traffic) }
	}
	server := &http.Server{Handler: emulator, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	scheme := "http"
	if e.cert != "" {
		pair, err := tls.LoadX509KeyPair(e.cert, e.key)
		if err != nil {
			return fmt.Errorf("load the certificate: %w", err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		scheme = "https"
	}
	l, err := net.Listen("tcp", e.addr)
	if err != nil {
		return fmt.Errorf("serve the embedded Kinesis: %w", err)
	}
	url := scheme + "://" + l.Addr().String()
	_, err = fmt.Fprintf(stdout, "ready at %s: try AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any "+
		"aws --region %s --endpoint-url %s kinesis list-streams\n", url, e.region, url)
	if err != nil {
		_ = l.Close()
		return fmt.Errorf("report readiness: %w", err)
	}
	both, running := errgroup.WithContext(ctx)
	both.Go(func() error { return serveUntil(running, l, server) })
	both.Go(func() error { return publish(running) })
	if err := both.Wait(); err != nil && !(ctx.Err() != nil && errors.Is(err, ctx.Err())) {
		return err
	}
	return nil
}

// serveUntil serves until ctx ends, over TLS if the server has a certificate,
// and then waits a second for requests in flight.
func serveUntil(ctx context.Context, l net.Listener, server *http.Server) error {
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(l, "", "")
			return
		}
		served <- server.Serve(l)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve the embedded Kinesis: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil { // it cuts requests that do not end
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the embedded Kinesis: %w", err)
	}
	return nil
}
