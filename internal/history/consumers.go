package history

import (
	"maps"
	"slices"
)

// Handled counts what a consumer of the queue did.
type Handled struct {
	Events int `json:"events"` // of the queue, each counted once
	Again  int `json:"again"`  // how often it handled one that it had handled before, as it may
}

// consumerJudge judges one consumer by the rows of the queue.
type consumerJudge struct {
	name   string
	report *Report
	rows   map[string]int // by id, in the order of the queue
	done   map[string]bool
	last   map[string]int // by key: the row of the last event handled for the first time
}

// judgeConsumers compares what each consumer handled with the queue: all of it,
// each event at least once, and the first times in the order of the queue,
// within each key where the consumer keeps only that.
func judgeConsumers(events []Event, report *Report) {
	rows, ids := map[string]int{}, []string{}
	judges := map[string]*consumerJudge{}
	for i := range events {
		switch e := &events[i]; e.Kind {
		case KindQueue:
			for j := range e.Items {
				rows[e.Items[j].ID] = len(ids)
				ids = append(ids, e.Items[j].ID)
			}
		case KindConsumer:
			judges[e.Consumer] = &consumerJudge{e.Consumer, report, rows, map[string]bool{}, map[string]int{}}
		}
	}
	if len(judges) == 0 {
		return
	}
	report.Consumers = map[string]*Handled{}
	for name := range judges {
		report.Consumers[name] = &Handled{}
	}
	for i := range events {
		if e := &events[i]; e.Kind == KindHandled && judges[e.Consumer] != nil {
			judges[e.Consumer].take(e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(judges)) {
		for _, id := range ids {
			if !judges[name].done[id] {
				report.Lost++
				report.problem("consumer %s: never handled event %s", name, id)
			}
		}
	}
}

// take judges events that were handled.
func (j *consumerJudge) take(e *Event) {
	for i := range e.Items {
		item := &e.Items[i]
		row, ok := j.rows[item.ID]
		switch last, began := j.last[item.Detail]; {
		case !ok:
			j.report.Unexpected++
			j.report.problem("consumer %s: handled event %q, which the queue never held", j.name, item.ID)
			continue
		case j.done[item.ID]:
			j.report.Consumers[j.name].Again++
			continue
		case began && row < last:
			j.report.Disordered++
			j.report.problem("consumer %s: handled event %s for the first time after a later one", j.name, item.ID)
		default:
			j.last[item.Detail] = row
		}
		j.done[item.ID] = true
		j.report.Consumers[j.name].Events++
	}
}
