package api

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/queue"
)

// The parameters of the operations that have some.
var (
	tailParams = []string{"n", "since", "type", "project", "ref", "verdict", "payload", "stop"}
	readParams = []string{"max", "wait", "session", "order", "hold"}
)

// params are the parameters of a query. The first mistake counts.
type params struct {
	values url.Values
	err    error
}

// only refuses parameters that there are not, such as those that are misspelt.
func (p *params) only(names ...string) {
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !slices.Contains(names, name) && p.err == nil {
			p.err = badRequest("there is no parameter %q; there are %s", name, strings.Join(names, ", "))
		}
	}
}

func (p *params) number(name string, otherwise, low, high int) int {
	text := p.values.Get(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if (err != nil || n < low || n > high) && p.err == nil {
		p.err = badRequest("%s=%s is not a number between %d and %d", name, text, low, high)
	}
	return n
}

func (p *params) duration(name string, otherwise, low, high time.Duration) time.Duration {
	text := p.values.Get(name)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if (err != nil || d < low || d > high) && p.err == nil {
		p.err = badRequest("%s=%s is not a duration between %v and %v, such as 30s", name, text, low, high)
	}
	return d
}

func (p *params) boolean(name string, otherwise bool) bool {
	text := p.values.Get(name)
	if text == "" {
		return otherwise
	}
	if text != "true" && text != "false" && p.err == nil {
		p.err = badRequest("%s=%s is neither true nor false", name, text)
	}
	return text == "true"
}

// list returns the values of a parameter that is repeated, or has commas.
func (p *params) list(name string) (all []string) {
	for _, text := range p.values[name] {
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

// parseReading reads what a read asks for.
func parseReading(r *http.Request) (want reading, err error) {
	p := params{values: r.URL.Query()}
	p.only(readParams...)
	want.max = p.number("max", defaultMax, 1, maxMax)
	want.wait = p.duration("wait", 0, 0, maxWait)
	want.timeout = p.duration("session", defaultTimeout, minTimeout, maxTimeout)
	hold := p.duration("hold", queue.DefaultHold, 0, maxHold)
	switch order := p.values.Get("order"); {
	case order == "arrival":
		want.options = append(want.options, queue.ByArrival(hold))
	case order != "" && order != "queue" && p.err == nil:
		p.err = badRequest("order=%s is neither queue nor arrival", order)
	}
	want.asList = strings.Contains(r.Header.Get("Accept"), "application/json")
	return want, p.err
}

// parseTail reads what a tail asks for.
func parseTail(values url.Values) (q tailQuery, err error) {
	p := params{values: values}
	p.only(tailParams...)
	q.n = p.number("n", 10, 0, Remembered)
	q.payload, q.stop = p.boolean("payload", false), p.boolean("stop", false)
	q.verdicts = map[string]bool{}
	verdicts := p.list("verdict")
	for _, v := range verdicts {
		if !slices.Contains(Verdicts(), v) && p.err == nil {
			p.err = badRequest("verdict=%s is none of %s", v, strings.Join(Verdicts(), ", "))
		}
		q.verdicts[v] = true
	}
	if len(verdicts) == 0 {
		q.verdicts = map[string]bool{Queued: true, Filtered: true, Dead: true}
	}
	if p.err != nil {
		return q, p.err
	}
	filter := queue.Filter{Types: values["type"], Projects: values["project"], Refs: values["ref"]}
	if q.matcher, err = filter.Matcher(); err != nil {
		return q, badRequest("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if text := values.Get("since"); text != "" {
		if values.Get("n") != "" {
			return q, badRequest("since and n both say where to begin; give one of them")
		}
		q.since, err = since(text)
		q.n = Remembered
	}
	return q, err
}
