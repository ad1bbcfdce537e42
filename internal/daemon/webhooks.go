package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/webhook"
)

// The bounds of stopping webhooks, which runs beside the stop of the consumer.
// What is not acknowledged by then is delivered again by the next process.
const (
	webhookGrace = 1500 * time.Millisecond // for requests under way, and again for giving up the lease
	stopWebhooks = 3500 * time.Millisecond // for all of it
)

// makeWebhooks creates a dispatcher for each webhook. They read the queue by
// their own connections: reading the stream and committing wait for none.
func (d *Daemon) makeWebhooks(ctx context.Context) error {
	hooks := d.options.Config.Webhooks
	if len(hooks) == 0 {
		return nil
	}
	store, ok := d.store.(webhook.Store)
	if !ok { // the configuration was checked
		return &ConfigError{d.options.Config.CheckQueue()}
	}
	var group gerritstream.GroupState
	err := d.patiently(ctx, func() (err error) {
		group, err = d.store.GroupState(ctx, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("look for the other processes: %w", err)
	}
	var names []string
	for i := range hooks {
		names = append(names, hooks[i].Hook.Name)
	}
	for i := range hooks {
		secrets := &secrets{webhook: &hooks[i], log: d.log.With("webhook", hooks[i].Hook.Name)}
		if err := secrets.begin(); err != nil {
			return &ConfigError{err}
		}
		dispatcher, err := webhook.New(webhook.Config{
			Hook:     hooks[i].Hook,
			Store:    store,
			Sender:   webhook.SenderConfig{Source: d.options.Config.Kinesis.Stream, Secrets: secrets.current},
			Observer: d.metrics,
			Log:      d.log,
			Process:  d.process,
			Members:  d.members,
			Self:     group.Self,
			Hooks:    names,
			Grace:    webhookGrace,
		})
		if err != nil {
			return &ConfigError{err}
		}
		d.webhooks = append(d.webhooks, dispatcher)
	}
	return nil
}

// members returns the processes on the store, which share the webhooks out.
func (d *Daemon) members(ctx context.Context) (ids []string, err error) {
	group, err := d.store.GroupState(ctx, nil)
	for _, m := range group.Members {
		ids = append(ids, m.ID)
	}
	return ids, err
}

// runWebhooks starts the dispatchers, which deliver until ctx ends. wait waits
// for them, and returns an error if that takes too long since the stop began.
func (d *Daemon) runWebhooks(ctx context.Context) (wait func(began time.Time) error) {
	var running sync.WaitGroup
	for _, w := range d.webhooks {
		running.Go(func() {
			if err := w.Run(ctx); err != nil { // it retries all that may pass
				d.log.Error("webhook stopped", "err", err)
			}
		})
	}
	return func(began time.Time) error {
		err := within(stopWebhooks-time.Since(began), func() error { running.Wait(); return nil })
		if err != nil {
			return fmt.Errorf("stop the webhooks: %w", err)
		}
		return nil
	}
}

// secretsEvery is how often files of secrets are looked at, while requests are
// signed: a secret is rotated without a restart.
const secretsEvery = 2 * time.Second

// secrets keeps the secrets of a webhook as its files have them. Several
// goroutines use it at once.
type secrets struct {
	webhook *config.Webhook
	log     *slog.Logger

	mu     sync.Mutex
	looked time.Time        // under mu
	files  []os.FileInfo    // under mu: as they were when they were last read; a nil one was missing
	last   []webhook.Secret // under mu: the last that could be read
}

// begin reads the secrets for the first time.
func (s *secrets) begin() (err error) {
	s.looked, s.files = time.Now(), s.look()
	s.last, err = s.webhook.ReadSecrets()
	return err
}

// current returns the secrets, read again if a file has changed. If it cannot
// be used, they stay as they were, which is logged once for each change.
func (s *secrets) current() []webhook.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) < secretsEvery {
		return s.last
	}
	s.looked = time.Now()
	files := s.look()
	if slices.EqualFunc(files, s.files, sameFile) {
		return s.last
	}
	s.files = files
	read, err := s.webhook.ReadSecrets()
	if err != nil {
		s.log.Warn("secrets changed and cannot be used; signing with the earlier ones", "err", err)
		return s.last
	}
	s.log.Info("secrets read again", "secrets", len(read))
	s.last = read
	return read
}

// look returns what the files are; a missing one is nil.
func (s *secrets) look() []os.FileInfo {
	files := make([]os.FileInfo, len(s.webhook.SecretFiles))
	for i, name := range s.webhook.SecretFiles {
		files[i], _ = os.Stat(name) // reading it will say why
	}
	return files
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}
