// Package gerritstream reads an AWS Kinesis stream with any number of processes
// and hands each record on once.
//
// One process is elected per shard; the others stand by. The events it reads,
// the position it has reached and the proof of its leadership are one
// transaction, so that no crash, partition or late process loses or repeats a
// record. Shards are followed through splits and merges, parents first.
//
// This package is the contract: what a Source, Store, Group, Sink and Operator
// promise, and the values they exchange. Package consumer is the machine
// between them:
//
//	Source                   Consumer                             Store
//	                                                         +--------------+
//	List --- Listing ---> plan: which member leads which     |              |
//	                      shard, and where it begins         |              |
//	                        v                                |              |
//	                      Campaign ------------------------> | election     |
//	                        v                       Term <-- |              |
//	Read --- Page ------> Classifier: queue, filter or       |              |
//	                      dead-letter each record            |              |
//	                        v                                |              |
//	                      Sink.Deliver, at least once        |              |
//	                        v                                |              |
//	                      Commit ====== COMMIT POINT ======> | position     |
//	                      all or nothing, and only           | queue        |
//	                      while the term leads               | dead letters |
//	                                                         +--------------+
//
// Above the commit point everything may happen again, because the next leader
// reads the same records. Below it they are handed on.
//
// Package kinesis has a Source, sqlite and zookeeper have a Store, package
// gerrit judges Gerrit's events, package sink has a Sink. A whole program:
//
//	source, err := kinesis.New(ctx, kinesis.Config{Stream: "gerrit"})
//	if err != nil {
//		return err
//	}
//	store, err := sqlite.Open(ctx, sqlite.Config{Path: "gerrit.db"})
//	if err != nil {
//		return err
//	}
//	c, err := consumer.New(consumer.Config{Source: source, Store: store})
//	if err == nil {
//		err = c.Run(ctx) // until ctx ends
//	}
//	return errors.Join(err, store.Close(context.WithoutCancel(ctx)))
//
// Use it where one process must handle each record, in order; not where every
// process needs every record, nor where order may be given up for speed.
package gerritstream
