package kinesis

import "time"

// Observer is shown what a Source does, for metrics. Its methods are called by
// several goroutines at once, and must not block.
type Observer interface {
	// Request: an attempt was made at an operation, "GetRecords", and took that
	// long. The code is of a bounded set: "OK", one of the service's own, or
	// "Network", "Timeout", "Canceled", "Malformed", "TooLarge", "NoRoom",
	// "Credentials", "Other".
	Request(operation, code string, took time.Duration)

	// ReplyBytes: a GetRecords reply had a body of that many bytes.
	ReplyBytes(n int)

	// ClockSkew: the service's clock is ahead of the local one by so much
	// (behind it, if negative), give or take half a second and half of the
	// request's duration. It is called with each reply.
	ClockSkew(ahead time.Duration)
}

// noObserver sees nothing.
type noObserver struct{}

func (noObserver) Request(string, string, time.Duration) {}
func (noObserver) ReplyBytes(int)                        {}
func (noObserver) ClockSkew(time.Duration)               {}
