package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/queue"
)

func TestMakeConsumer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.commit(3, "ref-updated")
		put := func(name, body string) answer {
			return w.send(&request{method: http.MethodPut, path: "/v1/consumers/" + name, body: body})
		}
		const filtered = `{"filter":{"types":["change-*"]},"start":2}`
		if a := put("a", filtered); a.status != http.StatusCreated || !strings.Contains(a.body, `"acked":1`) {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := put("a", filtered); a.status != http.StatusOK || !strings.Contains(a.body, `"types":["change-*"]`) {
			t.Errorf("%d %s", a.status, a.body)
		}
		w.refused(put("a", `{}`), 409, CodeExists, `with another filter, {"types":["change-*"]}`)
		w.refused(put("b", `{"filter":{"types":["^("]}}`), 400, CodeBadRequest, "filter: types[0]")
		w.refused(put("b", `{"start":"tomorrow"}`), 400, CodeBadRequest, `"tomorrow" is not a time`)
		w.refused(put("b", `{"start":9}`), 400, CodeBadRequest, "there is no event 9 yet; the newest is 3")
		w.refused(put("b", `{"start":[]}`), 400, CodeBadRequest, "a place is a number or a text")
		w.refused(put("b", `{"begin":1}`), 400, CodeBadRequest, `unknown field "begin"`)
		w.refused(put("b", `{}{}`), 400, CodeBadRequest, "something follows")
		large := `{"filter":{"types":["` + strings.Repeat("x", maxBody) + `"]}}`
		w.refused(put("b", large), 400, CodeBadRequest, "too large")
		w.refused(put("B", `{}`), 400, CodeBadRequest, "lower-case letters")
		w.refused(put("webhook:b", `{}`), 400, CodeBadRequest, "lower-case letters")
		if a := w.get("/v1/consumers", ""); strings.Count(a.body, `"name"`) != 1 {
			t.Errorf("the consumers are %s", a.body)
		}
	})
}

func TestMistakesOfReaders(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.make("a")
		for query, text := range map[string]string{
			"max=0": "max=0 is not a number between 1 and 500", "max=501": "between 1 and 500", "max=x": "max=x",
			"wait=61s": "wait=61s is not a duration between 0s and 1m0s", "wait=-1s": "wait=-1s", "wait=5": "such as 30s",
			"session=500ms": "between 1s and 10m0s", "session=11m": "session=11m",
			"limit=5": `there is no parameter "limit"; there are max, wait, session`,
		} {
			w.refused(w.get(events+"?"+query, ""), 400, CodeBadRequest, text)
		}
		w.refused(w.get("/v1/consumers/b/events", ""), 404, CodeNoConsumer, "there is no consumer b")
		w.refused(w.get("/v1/consumers/b", ""), 404, CodeNoConsumer, "there is no consumer b")
		w.refused(w.post("/v1/consumers/b/seek", "", `{"to":"first"}`), 404, CodeNoConsumer, "there is no consumer b")
		w.refused(w.send(&request{method: http.MethodDelete, path: "/v1/consumers/b"}), 404, CodeNoConsumer, "")
		w.refused(w.get("/v2", ""), 404, CodeNotFound, `there is no "/v2" here`)
		w.refused(w.post(events, "", ""), 405, CodeMethod, "POST is not possible here, GET is")
		a := w.send(&request{method: "PATCH", path: "/v1/consumers/a"})
		w.refused(a, 405, CodeMethod, "GET or PUT or DELETE is")
		a = w.send(&request{method: http.MethodHead, path: events})
		if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET" {
			t.Errorf("HEAD gets %d, allowed is %s", a.status, a.header.Get("Allow"))
		}
		for query, text := range map[string]string{
			"n=2001": "between 0 and 2000", "since=tomorrow": `"tomorrow" is not a time`, "since=-1h&n=3": "both say",
			"verdict=lost": "none of queued, filtered, dead", "type=^(": "types[0]", "payload=1": "neither true nor false",
			"follow=true": `there is no parameter "follow"`,
		} {
			w.refused(w.get("/v1/tail?"+query, ""), 400, CodeBadRequest, text)
		}
	})
}

// Seek and removal need a consumer that nobody reads, but one's own session.
func TestSeekAndRemove(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.commit(5, "ref-updated")
		w.make("a")
		token := w.numbers(w.get(events, ""), 1, 5, false)
		w.post("/v1/consumers/a/ack", token, `{"n":5}`)
		w.refused(w.post("/v1/consumers/a/seek", "", `{"to":3}`), 409, CodeHeld, "a client of the test is reading as a")
		if a := w.post("/v1/consumers/a/seek", token, `{"to":3}`); a.status != http.StatusNoContent {
			t.Fatalf("%d %s", a.status, a.body)
		}
		token = w.numbers(w.get(events, ""), 3, 5, false)
		remove := request{method: http.MethodDelete, path: "/v1/consumers/a"}
		w.refused(w.send(&remove), 409, CodeHeld, "a client of the test is reading as a")
		remove.token = token
		if a := w.send(&remove); a.status != http.StatusNoContent {
			t.Fatalf("%d %s", a.status, a.body)
		}
		w.refused(w.get(events, ""), 404, CodeNoConsumer, "there is no consumer a")
	})
}

// A consumer's filter holds over the socket, and Accept chooses the form.
func TestReadFiltered(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.commit(2, "ref-updated")
		w.commit(1, "change-merged")
		w.must(w.store.Register(t.Context(), "a", queue.Filter{Types: []string{"change-*"}}, 0))
		a := w.send(&request{method: http.MethodGet, path: events, accept: "application/json"})
		if !strings.HasPrefix(a.body, `[{"n":3,`) || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %s", a.header, a.body)
		}
		w.numbers(w.get(events, a.header.Get(SessionHeader)), 3, 3, true)
	})
}

func TestForeignQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		zuuls := w.serve(nil)
		a := w.send(&request{method: http.MethodGet, path: "/v1/consumers", server: zuuls})
		w.refused(a, 501, CodeForeignQueue, "Zuul consumes the queue")
		w.commit(1, "ref-updated")
		a = w.send(&request{method: http.MethodGet, path: "/v1/tail?stop=true&payload=true", server: zuuls})
		if a.status != http.StatusOK || !strings.Contains(a.body, `"verdict":"queued"`) {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}
