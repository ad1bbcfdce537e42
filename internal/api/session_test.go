package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

const events = "/v1/consumers/a/events"

// A read returns the same events until they are acknowledged, since its answer
// may be lost; and so may that of an acknowledgement, which can be repeated.
func TestLostAnswersLoseNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.commit(5, "ref-updated")
		w.make("a")
		token := w.numbers(w.get(events+"?max=3", ""), 1, 3, false)
		w.numbers(w.get(events+"?max=3", token), 1, 3, true)
		w.numbers(w.get(events+"?max=2", token), 1, 2, true)
		w.numbers(w.get(events+"?max=100", token), 1, 3, true)
		for range 2 {
			if a := w.post("/v1/consumers/a/ack", token, `{"n":2}`); a.status != http.StatusNoContent {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			w.acked("a", 2)
		}
		w.numbers(w.get(events, token), 3, 3, true)
		if a := w.post("/v1/consumers/a/ack", token, `{"n":3}`); a.status != http.StatusNoContent {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		w.numbers(w.get(events, token), 4, 5, false)
	})
}

func TestAcknowledgementsAreOfWhatWasHandedOut(t *testing.T) {
	inBubble(t, func(_ *testing.T, w *world) {
		w.commit(5, "ref-updated")
		w.make("a")
		token := w.numbers(w.get(events+"?max=3", ""), 1, 3, false)
		const ack = "/v1/consumers/a/ack"
		w.refused(w.post(ack, token, `{"n":4}`), 409, CodeNotHandedOut, "event 4 is none of those handed out")
		w.acked("a", 0)
		w.post(ack, token, `{"n":2}`)
		w.refused(w.post(ack, token, `{"n":1}`), 409, CodeBackwards, "event 2 is acknowledged already")
		w.refused(w.post(ack, "", `{"n":3}`), 400, CodeBadRequest, "the header Gerritstream-Session is missing")
		w.refused(w.post(ack, "x", `{"n":3}`), 409, CodeSessionLost, "read without a token")
		w.refused(w.post(ack, token, `{}`), 400, CodeBadRequest, "n is not the number of an event")
		w.post(ack, token, `{"n":2}`)
		w.acked("a", 2)
		if w.noted != 2 {
			t.Errorf("%d acknowledged events were told of, want 2", w.noted)
		}
	})
}

// A client that is silent loses its session and the lease; its events come
// again, and its late acknowledgement changes nothing.
func TestSilentSessionEnds(t *testing.T) {
	inBubble(t, func(_ *testing.T, w *world) {
		w.commit(3, "ref-updated")
		w.make("a")
		token := w.numbers(w.get(events+"?session=20s", ""), 1, 3, false)
		wait(19 * time.Second)
		w.numbers(w.get(events+"?session=20s", token), 1, 3, true)
		wait(19 * time.Second)
		w.refused(w.get(events, ""), 409, CodeHeld, "a client of the test is reading as a")
		wait(2 * time.Second)
		w.refused(w.get(events, token), 409, CodeSessionLost, "comes again")
		other := w.numbers(w.get(events, ""), 1, 3, true)
		w.refused(w.post("/v1/consumers/a/ack", token, `{"n":3}`), 409, CodeSessionLost, "")
		w.acked("a", 0)
		w.post("/v1/consumers/a/ack", other, `{"n":3}`)
		w.acked("a", 3)
	})
}

// A client may wait for the name as long as for events.
func TestSecondClientWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.commit(2, "ref-updated")
		w.make("a")
		token := w.numbers(w.get(events, ""), 1, 2, false)
		began := time.Now()
		w.refused(w.get(events+"?wait=10s", ""), 409, CodeHeld, "is reading as a")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it waited %v", took)
		}
		second := make(chan answer)
		go func() { second <- w.get(events+"?wait=60s", "") }()
		wait(5 * time.Second)
		end := w.send(&request{method: http.MethodDelete, path: "/v1/consumers/a/session", token: token})
		if end.status != http.StatusNoContent {
			t.Fatalf("status %d: %s", end.status, end.body)
		}
		w.numbers(<-second, 1, 2, true)
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("it waited %v", took)
		}
	})
}

// A wait for events is no silence, and ends when there are some.
func TestLongPoll(t *testing.T) {
	inBubble(t, func(_ *testing.T, w *world) {
		w.make("a")
		token := w.numbers(w.get(events+"?wait=60s&session=5s", ""), 1, 0, false)
		polled := make(chan answer)
		go func() { polled <- w.get(events+"?wait=60s&session=5s", token) }()
		wait(50 * time.Second)
		w.refused(w.get(events, token), 409, CodeBusy, "under way")
		w.commit(1, "ref-updated")
		w.numbers(<-polled, 1, 1, false)
	})
}

// Another process may read as the same name.
func TestOtherProcessReads(t *testing.T) {
	inBubble(t, func(_ *testing.T, w *world) {
		w.commit(2, "ref-updated")
		w.make("a")
		token := w.numbers(w.get(events, ""), 1, 2, false)
		other := w.serve(w.open("two"))
		defer other.sessions.wait()
		defer w.stop(errStopping)
		a := w.send(&request{method: http.MethodGet, path: events + "?wait=3s", server: other})
		w.refused(a, 409, CodeHeld, "process one is reading as a")
		a = w.send(&request{method: http.MethodDelete, path: "/v1/consumers/a", server: other})
		w.refused(a, 409, CodeHeld, "process one is reading as a")
		w.exec(`UPDATE leases SET term = term + 1, process = '' WHERE shard = 'consumer:a'`)
		w.refused(w.post("/v1/consumers/a/ack", token, `{"n":2}`), 409, CodeSessionLost, "read without a token")
		a = w.send(&request{method: http.MethodGet, path: events + "?wait=10s", server: other})
		w.numbers(a, 1, 2, true)
		w.acked("a", 0)
	})
}

// Nobody knows the token of a client that hung up before it had it.
func TestHangingUpEndsANewSession(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.make("a")
		ctx, hangUp := context.WithCancel(w.base)
		first := make(chan answer)
		go func() { first <- w.send(&request{method: http.MethodGet, path: events + "?wait=60s", ctx: ctx}) }()
		wait(5 * time.Second)
		hangUp()
		<-first
		w.commit(1, "ref-updated")
		began := time.Now()
		w.numbers(w.get(events+"?wait=30s", ""), 1, 1, false)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the next client waited %v", took)
		}
	})
}

// A stop ends what waits, and gives the leases up.
func TestStopGivesLeasesUp(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.make("a")
		token := w.numbers(w.get(events, ""), 1, 0, false)
		polled := make(chan answer)
		go func() { polled <- w.get(events+"?wait=60s", token) }()
		wait(time.Second)
		began := time.Now()
		w.stop(errStopping)
		w.refused(<-polled, 503, CodeStopping, "this process is stopping")
		w.server.sessions.wait()
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("the stop took %v", took)
		}
		info, err := consumerNamed(t.Context(), w.store, "a")
		w.must(err)
		if info.Reader != "" {
			t.Errorf("%s still reads", info.Reader)
		}
		a := w.send(&request{method: http.MethodGet, path: events, ctx: context.Background()})
		w.refused(a, 503, CodeStopping, "")
	})
}

func TestSessionsAreBounded(t *testing.T) {
	inBubble(t, func(_ *testing.T, w *world) {
		for i := range maxSessions + 1 {
			name := "c" + strings.Repeat("x", i)
			w.make(name)
			a := w.get("/v1/consumers/"+name+"/events", "")
			if i < maxSessions {
				w.numbers(a, 1, 0, false)
			} else {
				w.refused(a, 503, CodeTooMany, "clients read already")
			}
		}
	})
}

// In the order of arrival an acknowledgement covers what was handed out before
// it, whatever the numbers.
func TestReadByArrival(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.make("a")
		const shard1 = gerritstream.ShardID("shardId-000000000001")
		other, err := w.store.Campaign(t.Context(), 1, shard1)
		w.must(err)
		began := time.Now()
		for i, part := range []struct {
			term  gerritstream.Term
			shard gerritstream.ShardID
			after time.Duration // when it arrived
		}{{w.term, shard0, 2 * time.Second}, {other, shard1, time.Second}} {
			e := gerritstream.Entry{
				ID: gerritstream.EventID{byte(i)}, Shard: part.shard, Seq: "1", Sub: gerritstream.NoSub,
				Arrived: began.Add(part.after), Payload: []byte("{}"),
			}
			at := gerritstream.Position{After: e.Seq, Arrived: e.Arrived}
			w.must(part.term.Commit(t.Context(), gerritstream.Commit{Position: at, Entries: []gerritstream.Entry{e}}))
		}
		const byArrival = events + "?order=arrival&hold=3s&wait=20s"
		a := w.get(byArrival, "")
		token := w.numbers(answer{a.status, a.header, strings.Split(a.body, "\n")[0]}, 2, 2, false)
		if !strings.Contains(a.body, "\n"+`{"n":1,`) {
			t.Errorf("got %s", a.body)
		}
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("they were held back %v", took)
		}
		const ack = "/v1/consumers/a/ack"
		w.post(ack, token, `{"n":2}`)
		w.numbers(w.get(events, token), 1, 1, true)
		if a := w.post(ack, token, `{"n":1}`); a.status != http.StatusNoContent {
			t.Errorf("%d %s", a.status, a.body)
		}
		w.acked("a", 2)
		w.refused(w.get(events+"?order=age", ""), 400, CodeBadRequest, "order=age is neither queue nor arrival")
	})
}

// wait lets time pass, and everything else get as far as it can.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
