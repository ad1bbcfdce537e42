package webhook_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/webhook"
)

// BenchmarkDeliver delivers a backlog of b.N events, of 97 changes, from a
// SQLite file to a receiver on this host.
func BenchmarkDeliver(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	store, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(b.TempDir(), "queue.db")})
	check(b, err)
	defer func() { check(b, store.Close(context.WithoutCancel(ctx))) }()
	came, all := atomic.Int64{}, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if came.Add(1) == int64(b.N) {
			close(all)
		}
	}))
	defer server.Close()
	h := webhook.Hook{Name: "ci", URL: webhook.URL(server.URL), AllowPrivate: true, Concurrency: 8}
	check(b, store.Register(ctx, h.Consumer(), queue.Filter{}, 0))
	var entries []gerritstream.Entry
	for n := range int64(b.N) {
		e := event(n+1, 1+n%97)
		entries = append(entries, e.Entry)
		if len(entries) == 500 || n == int64(b.N)-1 {
			_, err := store.Append(ctx, h.Consumer(), entries)
			check(b, err)
			entries = entries[:0]
		}
	}
	d, err := webhook.New(webhook.Config{Hook: h, Store: store})
	check(b, err)
	b.ResetTimer()
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	<-all
	b.StopTimer()
	cancel()
	check(b, <-ended)
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
