package gerritstream_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/sqlite"
)

// run is the program that doc.go shows.
func run(ctx context.Context) error {
	source, err := kinesis.New(ctx, kinesis.Config{Stream: "gerrit"})
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, sqlite.Config{Path: "gerrit.db"})
	if err != nil {
		return err
	}
	c, err := consumer.New(consumer.Config{Source: source, Store: store})
	if err == nil {
		err = c.Run(ctx) // until ctx ends
	}
	return errors.Join(err, store.Close(context.WithoutCancel(ctx)))
}

// The example in doc.go is run, line by line. A package's example that runs
// against an emulated stream is consumer's.
func TestDocShowsAProgramThatCompiles(t *testing.T) {
	_ = run
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(code), "error {\n")
	body, _, _ = strings.Cut(body, "\n}\n")
	if shown := "//" + strings.ReplaceAll(body, "\n", "\n//") + "\n//\n"; !strings.Contains(string(doc), shown) {
		t.Errorf("doc.go does not show\n%s", shown)
	}
}
