package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

// follow queues a stream's events in a file until everything that has arrived
// is there, or ctx ends.
func follow(ctx context.Context, stream kinesis.Config, path string) error {
	source, err := kinesis.New(ctx, stream)
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	c, err := consumer.New(consumer.Config{
		Source:        source,
		Store:         store,
		Classify:      judge,
		StartAt:       gerritstream.StartingPosition{TrimHorizon: true},
		UntilCaughtUp: true, // leave it out to go on until ctx ends
	})
	if err == nil {
		err = c.Run(ctx)
	}
	return errors.Join(err, store.Close(context.WithoutCancel(ctx)))
}

// judge queues valid events and dead-letters all other records.
func judge(_ gerritstream.ShardID, r *gerritstream.Record) gerritstream.Verdict {
	event, err := gerrit.Scan(r.Data)
	var fault *gerrit.Fault
	if errors.As(err, &fault) {
		return gerritstream.Verdict{Bad: string(fault.Reason), Detail: fault.Detail}
	}
	return gerritstream.Verdict{Event: gerritstream.Event{
		Type: gerrit.Text(event.Type), Project: gerrit.Text(event.Project), Change: event.Change,
		Attributes: map[string]string{"key": string(r.Key)},
	}}
}

// consume handles the events queued after a given one, old and new, until ctx
// ends.
func consume(ctx context.Context, path string, after int64, handle func(queue.Event)) error {
	reader, err := sqlite.OpenReader(ctx, path)
	if err != nil {
		return err
	}
	defer reader.Close(ctx)
	for event, err := range reader.Follow(ctx, after) {
		if err != nil {
			return err
		}
		handle(event)
	}
	return nil
}

// Follow a stream into a SQLite file, and read back what is queued there. The
// stream is one of package kinesistest; for AWS, kinesis.Config{Stream:
// "gerrit", Region: "us-west-2"} is all that is needed.
func Example() {
	stream, path, remove := exampleStream(
		`{"type":"patchset-created","change":{"project":"demo","number":4711}}`,
		`{"type":"change-merged","change":17}`,
		`{"type":"project-created","projectName":"tools"}`,
	)
	defer remove()
	ctx := context.Background()
	if err := follow(ctx, stream, path); err != nil {
		fmt.Println(err)
		return
	}

	consuming, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	err := consume(consuming, path, 0, func(e queue.Event) {
		fmt.Println(e.Number, e.Entry.Event.Type, e.Entry.Event.Attributes["key"])
		if e.Number == 2 { // a program goes on until it is stopped
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}

	reader, err := sqlite.OpenReader(ctx, path)
	if err != nil {
		fmt.Println(err)
		return
	}
	dead, err := reader.DeadLetters(ctx)
	for _, d := range dead {
		fmt.Println(d.Reason, d.Detail)
	}
	fmt.Println(errors.Join(err, reader.Close(ctx)))

	// Output:
	// 1 patchset-created key
	// 2 project-created key
	// shape byte 33: change is not an object
	// <nil>
}

// exampleStream returns a stream with some records in it, and a path for a file
// that remove removes. AWS settings of the environment do not matter.
func exampleStream(records ...string) (stream kinesis.Config, path string, remove func()) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	server := kinesistest.New(kinesistest.Options{})
	dir, err := os.MkdirTemp("", "gerritstream")
	if err == nil {
		_, err = server.CreateStream("gerrit", 1)
	}
	for _, record := range records {
		_, _, putErr := server.Put("gerrit", "key", []byte(record))
		err = errors.Join(err, putErr)
	}
	for name, word := range map[string]string{"id": "AKIDEXAMPLE", "secret": "example"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(word), 0o600))
	}
	if err != nil {
		panic(err)
	}
	stream = kinesis.Config{
		Stream: "gerrit", Region: "us-east-1", Endpoint: "http://kinesis.test", Transport: server.Transport(),
		Credentials: kinesis.Credentials{AccessKeyFile: filepath.Join(dir, "id"),
			SecretKeyFile: filepath.Join(dir, "secret")},
	}
	return stream, filepath.Join(dir, "gerrit.db"), func() { _ = os.RemoveAll(dir) }
}
