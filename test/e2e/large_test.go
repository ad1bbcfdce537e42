package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// embedded serves a Kinesis from within the test, with a stream of some shards,
// for records that Debian's boto3 cannot put.
func embedded(t *testing.T, shards int) (server *kinesistest.Server, endpoint string) {
	t.Helper()
	server = kinesistest.New(kinesistest.Options{NoLimits: true})
	if _, err := server.CreateStream(streamName, shards); err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	return server, listener.URL
}

// eventOf returns an event of a type and a size; its text does not compress to
// less than three quarters.
func eventOf(kind string, n uint64, size int) []byte {
	head := fmt.Sprintf(`{"type":"%s","project":"example/widgets","n":%d,"comment":"`, kind, n)
	noise := make([]byte, size*3/4)
	source := rand.NewChaCha8([32]byte{byte(n), byte(size)})
	_, _ = source.Read(noise) // it never fails
	return append(append([]byte(head), base64.StdEncoding.EncodeToString(noise)...), `"}`...)
}

// lane is one reader of the stream with a chroot of its own.
type lane struct {
	hosts string // for the reader of its queue
	link  *peers.Link
	run   []string // the arguments of its processes, without the session timeout
}

// dieAt starts a process that is killed when it sends its nth request about a
// large event, counted from 0, before the one that queues it. arrives: the
// server gets that request.
func (l lane) dieAt(t *testing.T, n int32, arrives bool) *program {
	t.Helper()
	started := make(chan struct{})
	var p *program
	var seen atomic.Int32
	l.link.LoseNextRequest(func(b []byte) bool {
		about := bytes.Contains(b, []byte("/intents/")) || bytes.Contains(b, []byte("/events/data/"))
		if !about || bytes.Contains(b, []byte("event_data_path")) || seen.Add(1) != n+1 {
			return false
		}
		<-started
		p.Kill()
		return !arrives
	})
	p = start(t, append(l.run[:len(l.run):len(l.run)], "--zookeeper-session-timeout", "2s")...)
	close(started)
	return p
}

// TestKilledWithinALargeEvent has an event of 5 MB, and kills the process fifty
// times between the pieces in which that goes to ZooKeeper: nothing is left of
// the attempts, and each event is queued once, byte for byte.
func TestKilledWithinALargeEvent(t *testing.T) {
	t.Parallel()
	const lanes, kills, requests = 10, 5, 6
	kinesis, endpoint := embedded(t, 1)
	var want [][]byte
	for n, size := range []int{5 << 20, 1000} {
		e := eventOf("comment-added", uint64(n), size)
		want = append(want, e)
		if _, _, err := kinesis.Put(streamName, "k", e); err != nil {
			t.Fatal(err)
		}
	}
	zk := peers.SharedZooKeeper(t, peers.ZooKeeperOptions{})
	var all []lane
	for range lanes {
		chroot := peers.Chroot(t, zk)
		link := peers.NewZooKeeperLink(t, zk.Hosts())
		all = append(all, lane{
			hosts: zk.Hosts() + chroot, link: link,
			run: intoZooKeeper(endpoint, link.Addr()+chroot),
		})
	}
	for kill := range kills {
		var dying []*program
		for i, l := range all {
			at := i*kills + kill
			dying = append(dying, l.dieAt(t, int32(at%requests), at/requests%2 == 0))
		}
		for _, p := range dying {
			if code := p.wait(t, patience); code != -1 {
				t.Fatalf("exit code %d of a process that was to be killed", code)
			}
		}
	}
	var last []*program
	for _, l := range all {
		last = append(last, start(t, l.run...))
	}
	for i, l := range all {
		l.finishes(t, last[i], want)
	}
}

// finishes takes everything from the queue as Zuul does, ends the process, and
// checks what was taken.
func (l lane) finishes(t *testing.T, p *program, want [][]byte) {
	t.Helper()
	reader := peers.StartReader(t, peers.KazooOptions{Hosts: l.hosts}, zuulRoot)
	got := takeAll(t, reader, p, len(want))
	if len(got) != len(want) {
		t.Errorf("%d events are queued, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i].Payload, want[i]) {
			t.Errorf("event %d has other bytes: %.80s...", i, got[i].Payload)
		}
	}
	reader.Stop(t)
}
