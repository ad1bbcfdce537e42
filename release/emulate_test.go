package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long something quick may take on a busy machine.
const patience = 60 * time.Second

// stream is `gerritstream emulate`, with one shard.
type stream struct{ endpoint string }

// emulate serves the stream until the test ends.
func emulate(t *testing.T, program string) stream {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "emulate", "--addr", "127.0.0.1:0",
		"--stream", "gerrit", "--shards", "1")
	log := filepath.Join(t.TempDir(), "emulate.log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	var s stream
	eventually(t, "emulate is ready", func() bool {
		_, rest, _ := strings.Cut(string(readFile(t, log)), "ready at ")
		endpoint, _, whole := strings.Cut(rest, ": ")
		s.endpoint = endpoint
		return whole
	})
	return s
}

// put puts an event into the stream.
func (s stream) put(t *testing.T, event string) {
	t.Helper()
	body, _ := json.Marshal(map[string]any{"StreamName": "gerrit", "PartitionKey": "k", "Data": []byte(event)})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"X-Amz-Target": "Kinesis_20131202.PutRecord", "Content-Type": "application/x-amz-json-1.1",
		"X-Amz-Date":    "20260101T000000Z",
		"Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
	} {
		request.Header.Set(key, value)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if text, _ := io.ReadAll(reply.Body); reply.StatusCode != http.StatusOK {
		t.Fatalf("put: %s: %s", reply.Status, text)
	}
}

// freePort returns a port of the loopback interface that nobody uses.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// get returns the answer of a process' admin port; "": none with status 200.
func get(t *testing.T, port, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
