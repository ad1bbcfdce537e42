package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

var flagSeeds = flag.Int("seeds", 2, "how many courses of events TestRandomClients takes")

// client is a program that reads as a consumer, and to which everything
// happens: answers get lost, it dies, it pauses.
type client struct {
	token string
	got   []int64 // numbers of the events of the last answer that it did not acknowledge
}

// chaos is what a test of random clients remembers.
type chaos struct {
	w       *world
	random  *rand.Rand
	clients []*client
	handled map[int64]bool
	highest int64 // number of the last event that was handled for the first time
	acked   int64 // of an acknowledgement whose answer arrived
	again   int   // events that came again
}

// TestRandomClients has three clients, of which any answer may be lost, read as
// one consumer while the server restarts: each event is handled, for the first
// time in order, and what was acknowledged does not come again.
func TestRandomClients(t *testing.T) {
	for seed := range uint64(*flagSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.make("a")
				c := &chaos{
					w: w, random: rand.New(rand.NewPCG(seed, 1)), handled: map[int64]bool{}, //nolint:gosec // a test's
					clients: []*client{{}, {}, {}},
				}
				for range 80 {
					c.step()
				}
				wait(10 * time.Second) // all sessions are over
				for last := (&client{}); ; {
					if !c.read(last, false) {
						break
					}
					c.ack(last, false)
				}
				w.acked("a", int64(w.seq))
				if len(c.handled) != w.seq {
					t.Errorf("%d of %d events were handled", len(c.handled), w.seq)
				}
				if c.again == 0 {
					t.Error("nothing came again: nothing went wrong")
				}
			})
		})
	}
}

func (c *chaos) step() {
	one := c.clients[c.random.IntN(len(c.clients))]
	lost := c.random.IntN(4) == 0
	switch n := c.random.IntN(20); {
	case n < 4:
		c.w.commit(1+c.random.IntN(20), "ref-updated")
	case n < 11:
		c.read(one, lost)
	case n < 16:
		c.ack(one, lost)
	case n < 17:
		*one = client{} // it dies
	case n < 18:
		c.w.stop(errStopping)
		c.w.server.sessions.wait()
		c.w.begin()
	default:
		wait(time.Duration(c.random.IntN(7)) * time.Second)
	}
}

// read reports whether the client got events.
func (c *chaos) read(one *client, lost bool) bool {
	a := c.w.get(fmt.Sprintf("%s?max=%d&wait=1s&session=5s", events, 1+c.random.IntN(10)), one.token)
	switch {
	case lost:
		return false
	case a.status != http.StatusOK:
		*one = client{}
		return false
	}
	one.token, one.got = a.header.Get(SessionHeader), nil
	for text := range strings.Lines(a.body) {
		var e Event
		c.w.must(json.Unmarshal([]byte(text), &e))
		switch {
		case e.N <= c.acked:
			c.w.t.Errorf("event %d came again after %d was acknowledged", e.N, c.acked)
		case c.handled[e.N]:
			c.again++
		case e.N != c.highest+1:
			c.w.t.Errorf("event %d came after %d", e.N, c.highest)
		default:
			c.highest, c.handled[e.N] = e.N, true
		}
		one.got = append(one.got, e.N)
	}
	return a.body != ""
}

func (c *chaos) ack(one *client, lost bool) {
	if len(one.got) == 0 {
		return
	}
	i := len(one.got) - 1 - c.random.IntN(min(3, len(one.got)))
	a := c.w.post("/v1/consumers/a/ack", one.token, fmt.Sprintf(`{"n":%d}`, one.got[i]))
	switch {
	case lost: // it acknowledges the same again, or reads again
	case a.status == http.StatusNoContent:
		c.acked, one.got = max(c.acked, one.got[i]), one.got[i+1:]
	case strings.Contains(a.body, CodeBackwards): // that answer was lost before
	default:
		*one = client{}
	}
}
