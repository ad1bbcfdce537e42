package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// testType is the type of the event that "webhook test" sends. No event of
// Gerrit has it.
const testType = "gerritstream-test"

func newWebhookTest(p process) *cobra.Command {
	output := outputFlag("table", "jsonl")
	var target string
	cmd := &cobra.Command{
		Use:   "test NAME | --url URL",
		Short: "Send a test event to a webhook's receiver",
		Long: `Send one test event to a webhook's receiver, from this process, signed and in the format of the settings,
and print what it answers. The event has the type "` + testType + `" and is in no queue; nothing is retried. The exit
code is 1 unless a 2xx answer is complete within the webhook's time-out. The store is not used.

With --url the event goes there, unsigned and in the format raw, whatever the address; no webhook need be set up.`,
		Example: `  gerritstream webhook test jenkins --config /etc/gerritstream/gerrit.yaml

  # See what a receiver gets:
  printf 'HTTP/1.1 204 No Content\r\n\r\n' | nc -l 127.0.0.1 8080 &
  gerritstream webhook test --url http://127.0.0.1:8080`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == (target != "") {
				return &usageError{cmd.CommandPath(), errors.New("name a webhook, or pass --url")}
			}
			c, err := storeConfig(cmd, p)
			if err != nil {
				return err
			}
			w, err := receiverToTry(&c, args, target)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context(), p.stderr)
			defer stop()
			return tryWebhook(ctx, p, &c, w, output)
		},
	}
	cmd.Flags().StringVar(&target, "url", "", "send to this `URL` instead of a webhook's")
	output.register(cmd)
	settingFlags(cmd, config.ForStore)
	return cmd
}

// receiverToTry returns the webhook that is named, or one for a URL.
func receiverToTry(c *config.Config, args []string, target string) (*config.Webhook, error) {
	if len(args) > 0 {
		if w, ok := c.Webhook(args[0]); ok {
			return w, nil
		}
		return nil, unknownWebhook(args[0], slices.Sorted(maps.Keys(c.Receivers())))
	}
	hook := webhook.Hook{Name: "test", URL: webhook.URL(target), AllowPrivate: true}.WithDefaults()
	return &config.Webhook{Hook: hook}, nil
}

// tryView is the result of "webhook test" as JSON.
type tryView struct {
	Webhook string          `json:"webhook"`
	To      webhook.URL     `json:"to"` // scheme and host
	Event   string          `json:"event"`
	Outcome webhook.Outcome `json:"outcome"`
	Status  int             `json:"status,omitempty"`
	Seconds float64         `json:"seconds"`
	Signed  int             `json:"signed"` // with how many secrets
	Error   string          `json:"error,omitempty"`
	Answer  string          `json:"answer,omitempty"` // the first bytes of its body
}

// answerBytes is how much of an answer is shown.
const answerBytes = 512

// tryWebhook sends a test event and prints what became of it.
func tryWebhook(ctx context.Context, p process, c *config.Config, w *config.Webhook, output *output) error {
	hook := w.Hook
	var err error
	if hook.Secrets, err = w.ReadSecrets(); err != nil {
		return &daemon.ConfigError{Err: fmt.Errorf("webhook %s: %w", hook.Name, err)}
	}
	sender, err := webhook.NewSender(hook, webhook.SenderConfig{Source: c.Kinesis.Stream, KeepAnswer: answerBytes})
	if err != nil {
		return &daemon.ConfigError{Err: err}
	}
	if output.is("table") {
		fmt.Fprintf(p.stderr, "gerritstream: sending a test event to %s; it has %s\n", hook.URL, hook.Timeout)
	}
	a := sender.Send(ctx, testEvent(hook.Name), false)
	v := tryView{
		Webhook: hook.Name, To: hook.URL, Event: a.Event.String(), Outcome: a.Outcome, Status: a.Status,
		Seconds: a.Took.Seconds(), Signed: len(hook.Secrets), Answer: strings.ToValidUTF8(string(a.Answer), "?"),
	}
	if a.Err != nil {
		v.Error = a.Err.Error()
	}
	if output.is("jsonl") {
		err = writeLine(p.stdout, &v)
	} else {
		err = v.writeText(p.stdout, a.Took)
	}
	if err == nil && a.Err != nil {
		err = fmt.Errorf("webhook %s: %w", hook.Name, a.Err)
	}
	return err
}

// writeText writes the result for people.
func (v *tryView) writeText(w io.Writer, took time.Duration) error {
	status := "no answer"
	if v.Status != 0 {
		status = fmt.Sprintf("%d %s", v.Status, v.Outcome)
	}
	signed := "no"
	if v.Signed > 0 {
		signed = "with " + plural(v.Signed, "secret")
	}
	text := fmt.Sprintf("event    %s\nstatus   %s\ntime     %s\nsigned   %s\n",
		v.Event, status, took.Round(time.Millisecond), signed)
	if v.Answer != "" {
		text += "answer   " + printable(v.Answer) + "\n"
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// testEvent returns the event that "webhook test" sends.
func testEvent(hook string) *queue.Event {
	now := time.Now().UTC()
	payload, _ := json.Marshal(map[string]any{ // it has a form
		"type": testType, "webhook": hook, "eventCreatedOn": now.Unix(), "message": "This is a test.",
	})
	e := &queue.Event{Queued: now, Entry: gerritstream.Entry{
		Sub: gerritstream.NoSub, Arrived: now, Payload: payload,
		Event: gerritstream.Event{Type: testType, Created: now.Truncate(time.Second)},
	}}
	_, _ = rand.Read(e.Entry.ID[:]) // never fails
	return e
}
