package peers

import (
	"bytes"
	"context"
	_ "embed" // subscribe.py
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// subscriberEnds is how long a subscriber gets to reach the end of its shard.
const subscriberEnds = 20 * time.Second

//go:embed python/subscribe.py
var subscribeScript string

// Subscriber reads a shard by enhanced fan-out to its end, with somebody else's
// client. It registers a consumer and deregisters it. A subscription that
// breaks is followed by one that begins where the last event ended.
type Subscriber struct {
	Endpoint, Stream, Shard string
	CA                      string // file with the authority for TLS; empty: the system's
}

// Subscribed is something that came.
type Subscribed struct {
	Consumer string   `json:"consumer"` // its ARN, first of all
	Sizes    []int    `json:"sizes"`    // of the records of an event
	Children []string `json:"children"` // with the last event
	Error    string   `json:"error"`    // a subscription broke
}

// Boto3 reads with boto3, which does so over HTTP/1.1.
func (s Subscriber) Boto3(tb testing.TB) []Subscribed {
	tb.Helper()
	Require(tb, Boto3)
	args := []string{"--endpoint", s.Endpoint, "--stream", s.Stream, "--shard", s.Shard}
	if s.CA != "" {
		args = append(args, "--ca", s.CA)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), subscriberEnds)
	defer cancel()
	return s.run(tb, PythonCommand(ctx, subscribeScript, args...))
}

// JavaScript reads with the AWS SDK for JavaScript, which does so over HTTP/2,
// also without TLS.
func (s Subscriber) JavaScript(tb testing.TB) []Subscribed {
	tb.Helper()
	Require(tb, JavaScriptSDK)
	root, err := moduleRoot()
	if err != nil {
		tb.Fatal(err)
	}
	program := filepath.Join(root, "internal", "peers", "npm", "subscribe.mjs")
	ctx, cancel := context.WithTimeout(tb.Context(), subscriberEnds)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", program, s.Endpoint, s.Stream, s.Shard)
	cmd.Env = append(Environment(), "NODE_EXTRA_CA_CERTS="+s.CA, "NODE_NO_WARNINGS=1")
	return s.run(tb, cmd)
}

// run runs a program and returns what it reported.
func (s Subscriber) run(tb testing.TB, cmd *exec.Cmd) (all []Subscribed) {
	tb.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("subscribe: %v: %s%s", err, out, &stderr)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var one Subscribed
		err := dec.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			tb.Fatalf("read what came: %v: %s", err, out)
		}
		all = append(all, one)
	}
}
