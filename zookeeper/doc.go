// Package zookeeper is a gerritstream.Store in ZooKeeper, in the layout of Zuul's own Kinesis listener.
package zookeeper
