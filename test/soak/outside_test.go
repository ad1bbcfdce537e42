package soak

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// The faults of this file come from outside the program: another program reads
// the stream, the service answers nonsense, the stream is deleted, a sink's
// output is not read.

// readBeside has another program read every open shard five times a second,
// which is all that Kinesis grants to a shard's readers together. It takes
// effect if the processes were throttled.
func (n *nemesis) readBeside(ctx context.Context) bool {
	server := n.s.stream.server
	var throttled atomic.Int64
	defer server.On(kinesistest.Hook{
		Operation: "GetRecords",
		Match: func(r *kinesistest.Request) bool {
			return !strings.Contains(r.Header.Get("User-Agent"),
				besideAgent)
		},
		Do: kinesistest.Observe(func(_ *kinesistest.Request, reply *kinesistest.Reply) {
			if reply.Status == http.StatusBadRequest {
				throttled.Add(1)
			}
		}),
	})()
	ctx, cancel := context.WithTimeout(ctx, n.between(4*time.Second, 8*time.Second))
	defer cancel()
	if isPushed() {
		n.deregister(ctx) // so that they poll
	}
	client := kinesis.New(kinesis.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://kinesis.test"), RetryMaxAttempts: 1, AppID: besideAgent,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		HTTPClient:  &http.Client{Transport: server.Transport()},
	})
	var reading sync.WaitGroup
	for _, shard := range n.s.stream.open() {
		reading.Go(func() {
			for ctx.Err() == nil {
				readShard(ctx, client, shard)
			}
		})
	}
	reading.Wait()
	return throttled.Load() > 0
}

// besideAgent distinguishes the other program's requests from ours.
const besideAgent = "another-reader"

// readShard reads one shard at its tip, as fast as allowed, until an error.
func readShard(ctx context.Context, client *kinesis.Client, shard string) {
	pace := func() bool { return pause(ctx, 200*time.Millisecond) }
	found, err := client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: aws.String(streamName), ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeLatest,
	})
	if err != nil {
		pace()
		return
	}
	for iterator := found.ShardIterator; iterator != nil && pace(); {
		page, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: iterator})
		var limit *types.ProvisionedThroughputExceededException
		switch {
		case err == nil:
			iterator = page.NextShardIterator
		case !errors.As(err, &limit):
			return
		}
	}
}

// garbled are the ways in which a reply with status 200 can be nonsense.
var garbled = map[string]func(body []byte) []byte{
	"empty":           func([]byte) []byte { return nil },
	"{}":              func([]byte) []byte { return []byte(`{}`) },
	"cut":             func(body []byte) []byte { return body[:len(body)/2] },
	"no iterator":     func(body []byte) []byte { return without(body, "NextShardIterator", "ChildShards") },
	"no records":      func(body []byte) []byte { return without(body, "Records") },
	"no distance":     func(body []byte) []byte { return without(body, "MillisBehindLatest") },
	"of another kind": func([]byte) []byte { return []byte(`<html>please log in</html>`) },
}

// without returns a JSON object without some of its members.
func without(body []byte, names ...string) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil {
		return body
	}
	maps.DeleteFunc(object, func(name string, _ json.RawMessage) bool { return slices.Contains(names, name) })
	out, err := json.Marshal(object)
	if err != nil {
		return body
	}
	return out
}

// garble turns the next replies of the service into nonsense with status 200. A
// repeated request is answered as before.
func (n *nemesis) garble(ctx context.Context) bool {
	names := slices.Sorted(maps.Keys(garbled))
	spoil := garbled[names[n.s.rng.IntN(len(names))]]
	return n.refuse(ctx, "GetRecords", 5, func(next kinesistest.Handler) kinesistest.Handler {
		return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
			reply, err := next(ctx, r)
			if err != nil || reply.Status != http.StatusOK {
				return reply, err
			}
			return kinesistest.NewReply(http.StatusOK, spoil(reply.Body())), nil
		}
	})
}

// recreatePatience is how long the last records may take before the stream is
// deleted.
const recreatePatience = time.Minute

// recreate deletes the stream once everything in it was handled, and recreates
// it a little later: its shards then have the same ids.
func (n *nemesis) recreate(ctx context.Context) bool {
	resume := n.s.producer.pause()
	defer resume()
	if !n.await(ctx, recreatePatience, func() bool { return n.s.producer.waiting(n.s.store) == 0 }) {
		return false
	}
	if err := n.s.stream.server.DeleteStream(streamName); err != nil {
		n.s.t.Errorf("delete the stream: %v", err)
		return false
	}
	pause(ctx, n.between(6*time.Second, 9*time.Second)) // AWS takes longer
	n.s.stream.create()
	return true
}

// await waits until something holds, and reports whether it did in time.
func (n *nemesis) await(ctx context.Context, limit time.Duration, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !holds() {
		if !pause(ctx, 200*time.Millisecond) {
			return false
		}
	}
	return true
}

// blockSink stops reading the output of a process' sink until its pipe is full.
// Every other time the process is stopped meanwhile.
func (n *nemesis) blockSink(ctx context.Context) bool {
	w := n.leader()
	effect := w.alive() && w.leads()
	w.out.block()
	defer w.out.unblock()
	pause(ctx, n.between(2*time.Second, 5*time.Second))
	if n.s.faults["blocked sink"]%2 == 0 {
		w.stop()
	}
	return effect
}

// outlet reads a process' standard output, or stops reading.
type outlet struct {
	gate sync.Mutex // held while nothing is read
}

// open returns the process' end of a pipe.
func (o *outlet) open() (*os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer read.Close()
		page := make([]byte, 32<<10)
		for {
			o.gate.Lock()
			o.gate.Unlock() //nolint:staticcheck // only to wait for it
			if _, err := read.Read(page); errors.Is(err, io.EOF) || err != nil {
				return
			}
		}
	}()
	return write, nil
}

func (o *outlet) block()   { o.gate.Lock() }
func (o *outlet) unblock() { o.gate.Unlock() }
