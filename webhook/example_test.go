package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/webhook"
)

// A hook delivers what a SQLite store's queue holds for it.
func Example() {
	err := func() (err error) {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			fmt.Println("received a", r.Header.Get("Gerritstream-Event"))
			stop()
		}))
		defer receiver.Close()
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		store, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(dir, "gerrit.db")})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close(context.Background())) }()

		hook := webhook.Hook{Name: "ci", URL: webhook.URL(receiver.URL), AllowPrivate: true}
		d, err := webhook.New(webhook.Config{Hook: hook, Store: store})
		if err != nil {
			return err
		}
		// What is queued after the hook began is delivered. Here it begins
		// before it runs, and an event is queued for it alone.
		if err := store.Register(ctx, hook.Consumer(), hook.Filter, 0); err != nil {
			return err
		}
		e := gerritstream.Entry{Event: gerritstream.Event{Type: "change-merged"}, Payload: []byte("{}")}
		if _, err := store.Append(ctx, hook.Consumer(), []gerritstream.Entry{e}); err != nil {
			return err
		}
		return d.Run(ctx)
	}()
	if err != nil {
		fmt.Println(err)
	}
	// Output: received a change-merged
}
