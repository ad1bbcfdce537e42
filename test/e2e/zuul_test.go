package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/gerrittest"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// zuulRoot is the connection's node, as Zuul has it.
const zuulRoot = "/zuul/events/connection/gerrit"

// TestZuulConfOverTLS is configured by a zuul.conf alone: gerritstream queues
// what boto3 puts on four shards, while one is split and two are merged, into a
// ZooKeeper over TLS, and a Python program takes the queue as Zuul does.
func TestZuulConfOverTLS(t *testing.T) {
	t.Parallel()
	const events = 5000
	peers.Require(t, peers.Boto3)
	certs := peers.MakeCertificates(t)
	zk := peers.ZooKeeper(t, peers.ZooKeeperOptions{TLS: certs})
	hosts := zk.SecureHosts() + peers.Chroot(t, zk)
	endpoint := emulate(t)
	conf := filepath.Join(t.TempDir(), "zuul.conf")
	write(t, conf, fmt.Sprintf(`[zookeeper]
hosts = %s
tls_cert = %s
tls_key = %s
tls_ca = %s
session_timeout = 10.0

[scheduler]
tenant_config = /etc/zuul/%%(there is none)s

[connection "gerrit"]
driver = gerrit
server = review.example.com
aws_kinesis_region = us-east-1
aws_kinesis_stream = %s
aws_kinesis_access_key = any
aws_kinesis_secret_key = any
`, hosts, certs.Client.Cert, certs.Client.Key, certs.CA, streamName))

	traffic := newTraffic(11)
	putter := peers.Putter{Endpoint: endpoint, Stream: streamName, Create: 4}
	first := traffic.put(t, putter, 100) // the stream is there
	p := start(t, "run", "--zuul-conf", conf, "--endpoint", endpoint, "--start-at", "trim-horizon", "--admin",
		"127.0.0.1:0")
	putter.Create, putter.Reshard = 0, events-100
	puts := append(first, traffic.put(t, putter, events-100)...)

	kazoo := peers.KazooOptions{Hosts: hosts, CA: certs.CA, Client: certs.Client}
	reader := peers.StartReader(t, kazoo, zuulRoot)
	checkQueue(t, puts, takeAll(t, reader, p, count(puts, gerrittest.Queued)))
	checkCheckpoints(t, reader, puts)
	if log := string(p.log(t)); strings.Contains(log, "secret") {
		t.Error("the log mentions secrets")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkQueue fails the test unless Zuul was given each event that is to be
// queued once, byte for byte, and those of a shard in the order of their
// sequence numbers. Zuul's queue does not say where an event was in the stream:
// its bytes do, and of equal ones those put first come first.
func checkQueue(t *testing.T, puts []wantedPut, events []peers.QueuedEvent) {
	t.Helper()
	places := map[string][]history.Item{}
	queuable := slices.DeleteFunc(slices.Clone(puts), func(p wantedPut) bool { return p.Want != gerrittest.Queued })
	for i := range queuable {
		item := queuable[i].item()
		places[item.Sum] = append(places[item.Sum], item)
	}
	for _, equal := range places {
		slices.SortFunc(equal, func(a, b history.Item) int { return a.Seq.Compare(b.Seq) })
	}
	ids := map[string]bool{}
	var queue []history.Item
	for _, e := range events {
		if ids[e.EventID] {
			t.Errorf("%s has the id of another event: %s", e.Node, e.EventID)
		}
		ids[e.EventID] = true
		item := history.Item{ID: e.Node} // in no put: it was not to be queued, or has other bytes
		if known := places[history.Sum(e.Payload)]; len(known) > 0 {
			item = known[0]
			if len(known) > 1 {
				places[item.Sum] = known[1:]
			}
		}
		queue = append(queue, item)
	}
	judge(t, queuable, queue, nil)
}

// checkCheckpoints compares the checkpoints, as Zuul takes them, with the last
// record of each shard.
func checkCheckpoints(t *testing.T, reader *peers.Reader, puts []wantedPut) {
	t.Helper()
	got, err := reader.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]gerritstream.SequenceNumber{}
	for _, put := range puts {
		if seq := gerritstream.SequenceNumber(put.SequenceNumber); seq.Compare(want[put.Shard]) > 0 {
			want[put.Shard] = seq
		}
	}
	for shard, seq := range want {
		if c := got[shard]; c.Sequence != string(seq) {
			t.Errorf("the checkpoint of %s is %+v, its last record %s", shard, c, seq)
		}
	}
}

// takeAll takes n events from the queue as Zuul does, calls then, stops the
// process, and takes what is left.
func takeAll(t *testing.T, reader *peers.Reader, p *program, n int, then ...func()) (events []peers.QueuedEvent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	pass, err := reader.Follow(ctx, func(peers.QueuedEvent) bool { n--; return n == 0 })
	if err != nil {
		t.Fatalf("Zuul waits for %d events: %v", n, err)
	}
	for _, f := range then {
		f()
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t, patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	rest, err := reader.Drain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rest.SideData != 0 {
		t.Errorf("%d side data are left", rest.SideData)
	}
	return append(pass.Events, rest.Events...)
}

// sharedZooKeeper returns a chroot of its own in a ZooKeeper that tests of this
// package share.
func sharedZooKeeper(tb testing.TB) (hosts string) {
	tb.Helper()
	zk := peers.SharedZooKeeper(tb, peers.ZooKeeperOptions{})
	return zk.Hosts() + peers.Chroot(tb, zk)
}

// intoZooKeeper are the arguments of a `run` that reads a stream from its
// beginning into a ZooKeeper.
func intoZooKeeper(endpoint, hosts string, more ...string) []string {
	return append([]string{
		"run", "--stream", streamName, "--region", "us-east-1", "--endpoint", endpoint,
		"--store", "zookeeper://" + hosts, "--start-at", "trim-horizon", "--admin", "127.0.0.1:0",
	}, more...)
}

// TestHostileCorpusPassesZuul puts every record of package gerrit's corpus on
// one shard: each is queued, dead-lettered or filtered, as the corpus says, and
// a reader that takes the queue as Zuul does stumbles over none.
func TestHostileCorpusPassesZuul(t *testing.T) {
	t.Parallel()
	peers.Require(t, peers.Boto3)
	hosts, endpoint := sharedZooKeeper(t), emulate(t)
	var events []peers.Event
	want := map[string]int{}
	for _, folder := range []string{"hostile", "odd"} {
		for name, verdict := range expectations(t, folder) {
			data, err := os.ReadFile(filepath.Join("..", "..", "gerrit", "testdata", folder, name))
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, peers.Event{Key: "k", Data: data})
			want[verdict]++
		}
	}
	puts := peers.Putter{Endpoint: endpoint, Stream: streamName, Create: 1, Batch: 50}.Put(t, events)
	if len(puts) != len(events) {
		t.Fatalf("the stream took %d of %d records", len(puts), len(events))
	}
	if out, code := run(t, intoZooKeeper(endpoint, hosts, "--until-caught-up")...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	reader := peers.StartReader(t, peers.KazooOptions{Hosts: hosts}, zuulRoot)
	pass, err := reader.Drain(t.Context())
	if err != nil {
		t.Fatalf("Zuul would stumble: %v", err)
	}
	if len(pass.Events) != want["queued"] {
		t.Errorf("%d events are queued, want %d", len(pass.Events), want["queued"])
	}
	bytesOf := map[string]bool{}
	for _, e := range events {
		bytesOf[string(bytes.TrimSpace(e.Data))] = true // white space around a value is not part of it
	}
	for _, e := range pass.Events {
		if !bytesOf[string(e.Payload)] {
			t.Errorf("%s has bytes that were not put", e.Node)
		}
	}
	if s := readStatusOf(t, "zookeeper://"+hosts); s.DeadLetters != want["dead"] {
		t.Errorf("%d dead letters, want %d", s.DeadLetters, want["dead"])
	}
}

// expectations reads the wanted outcomes of a corpus' records: "queued",
// "filtered" or "dead".
func expectations(t *testing.T, folder string) map[string]string {
	t.Helper()
	b := read(t, filepath.Join("..", "..", "gerrit", "testdata", folder, "EXPECT.tsv"))
	want := map[string]string{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) < 2 || strings.HasPrefix(line, "#") {
			continue
		}
		switch verdict := fields[1]; {
		case strings.HasPrefix(verdict, "drop:"), folder == "odd" && verdict == "batch-ref-updated":
			want[fields[0]] = "filtered"
		case verdict == "keep", folder == "odd": // whose column is the type
			want[fields[0]] = "queued"
		default:
			want[fields[0]] = "dead"
		}
	}
	if len(want) < 20 {
		t.Fatalf("%d records in the corpus %s", len(want), folder)
	}
	return want
}
