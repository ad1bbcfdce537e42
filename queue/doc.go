// Package queue is the consuming side: programs that read a store's queue under
// a name of their own, a consumer, and get every event at least once.
//
//	c, err := queue.Open(ctx, store, "indexer")
//	for err == nil {
//		var events []queue.Event
//		if events, err = c.Next(ctx, 100); err != nil {
//			break
//		}
//		handle(events)
//		err = c.Ack(ctx, events[len(events)-1].Number)
//	}
//
// # What is promised
//
// An event that was in the queue when a consumer was registered, or came
// later, and that its filter keeps, is handed out until it is acknowledged: in
// the order of the queue, which keeps the order within each shard. A process
// that dies between Next and Ack leaves the events to the next process that
// reads as the same name, which gets them again, marked as redelivered, and
// nothing that was acknowledged, in whatever order it was (Consumer.Done). At
// any time at most one process can acknowledge as a name. A program that keeps
// what it did in a database of its own makes it exactly once there by keeping
// the event's ID.
//
// # What is not
//
// A store keeps events for its retention, and longer for consumers that are
// behind. What it removes unread after that is counted for the consumer, with
// the interval of arrival times; `gerritstream queue ls` shows it. Between
// shards there is no order but that of the commits, unless a consumer is opened
// with [ByArrival].
//
// The package has the reading, filtering and acknowledging. What a store must
// offer is [Store]; package storetest has its conformance suite.
package queue
