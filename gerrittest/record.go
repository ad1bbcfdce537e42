package gerrittest

import "fmt"

// queued returns the record of an event that is handed on. c is the change that
// it is about, nil if about none.
func (w *world) queued(event object, c *change) Record {
	r := w.record(event, c)
	r.Want = Queued
	return r
}

// record writes an event.
func (w *world) record(event object, c *change) Record {
	r := Record{Data: appendJSON(nil, event), Type: event.text("type")}
	r.Key = w.key(event, r.Type, c)
	return r
}

// key returns the partition key: what Gerrit's plugin takes, or what spreads
// over many shards and keeps a change together.
func (w *world) key(event object, eventType string, c *change) string {
	switch {
	case !w.spread:
		return eventType
	case c != nil:
		return fmt.Sprintf("%s~%d", c.project, c.number)
	}
	for _, name := range []string{"project", "projectName"} {
		if project := event.text(name); project != "" {
			return project
		}
	}
	return fmt.Sprintf("%s-%d", eventType, w.rng.IntN(64))
}

// text returns a member that is a string, else "".
func (o object) text(name string) string {
	for _, m := range o {
		if s, ok := m.value.(string); ok && m.name == name {
			return s
		}
	}
	return ""
}
