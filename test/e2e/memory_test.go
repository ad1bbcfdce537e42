package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// TestMemoryIsBoundedWhileTheQueueIsFull has a full page, of 10 MiB, wait on
// each of 64 shards, and a full queue that is not read: what is read ahead
// stays within the budget, and everything is delivered once when a reader
// comes.
func TestMemoryIsBoundedWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	const (
		shards, small = 64, 20 // queued events of a shard, before what is filtered and as many after
		limit         = 200    // of the queue, so that most pages wait for it; the default is 10,000
		most          = 400e6  // bytes
	)
	kinesis, endpoint := embedded(t, shards)
	dropped := eventOf("ref-replicated", 0, 1<<20)
	want := map[string]bool{}
	all, err := kinesis.Shards(streamName)
	if err != nil {
		t.Fatal(err)
	}
	put := func(shard string, data []byte) {
		t.Helper()
		if _, err := kinesis.PutTo(streamName, shard, "k", data); err != nil {
			t.Fatal(err)
		}
	}
	for _, shard := range all {
		queued := func() {
			for range small {
				e := fmt.Appendf(nil, `{"type":"change-merged","n":%d}`, len(want))
				want[string(e)] = true
				put(shard.ID, e)
			}
		}
		queued()
		for range 10 { // the page is full after the ninth
			put(shard.ID, dropped)
		}
		queued()
	}
	hosts := sharedZooKeeper(t)
	p := start(t, intoZooKeeper(endpoint, hosts, "--zookeeper-queue-limit", strconv.Itoa(limit))...)
	reader := peers.StartReader(t, peers.KazooOptions{Hosts: hosts}, zuulRoot)
	eventually(t, "the queue is full", func() bool {
		return bytes.Contains(read(t, p.stderr.Name()), []byte("Zuul's queue is full"))
	})
	pages, same := "", 0
	eventually(t, "nothing more is read", func() bool {
		bytes := regexp.MustCompile(`(?m)^gerritstream_kinesis_reply_bytes_total.*$`)
		now := strings.Join(bytes.FindAllString(metricsOf(t, p), -1), "")
		if same++; now != pages {
			pages, same = now, 0
		}
		return same >= 20 // times, two seconds
	})
	full := len(readQueue(t, reader))
	if full > limit+shards*small { // a commit of each shard may be under way when it is reached
		t.Errorf("%d events are queued, the limit is %d", full, limit)
	}

	peak := 0
	taken := takeAll(t, reader, p, len(want), func() { peak = peakMemory(t, p) })
	for _, e := range taken {
		if !want[string(e.Payload)] {
			t.Errorf("%s is there twice, or was not put", e.Node)
		}
		delete(want, string(e.Payload))
	}
	t.Logf("%d events filled the queue; the process took %d MB at most", full, peak/1e6)
	if peak > most {
		t.Errorf("the process took %d MB", peak/1e6)
	}
}

func readQueue(t *testing.T, reader *peers.Reader) []peers.QueuedEvent {
	t.Helper()
	pass, err := reader.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pass.Events
}

// peakMemory returns a process' peak resident memory so far, in bytes.
func peakMemory(t *testing.T, p *program) int {
	t.Helper()
	status := read(t, fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	text, _, whole := bytes.Cut(rest, []byte("kB"))
	kb, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if !found || !whole || err != nil {
		t.Fatalf("no peak in the status of process %d: %v", p.Process.Pid, err)
	}
	return kb << 10
}
