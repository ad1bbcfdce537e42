package kinesistest

import (
	"encoding/json"
	"net/http"
	"time"
)

// operation answers one kind of request.
type operation func(s *Server, r *Request) (*Reply, *Fault)

// operations returns all operations, with the calls a second that AWS allows an
// account for one stream.
func operations() map[string]operation {
	return map[string]operation{
		"CreateStream":                  op(5, (*Server).createStream),
		"DeleteStream":                  onStream(5, (*Server).lookup, (*Server).deleteStream),
		"DescribeStream":                onStream(10, (*Server).lookup, (*Server).describeStream),
		"DescribeStreamSummary":         onStream(20, (*Server).lookup, (*Server).describeStreamSummary),
		"ListStreams":                   op(5, (*Server).listStreams),
		"ListShards":                    op(1000, (*Server).listShards),
		"PutRecord":                     onStream(0, (*Server).serving, (*Server).putRecord),
		"PutRecords":                    onStream(0, (*Server).serving, (*Server).putRecords),
		"GetShardIterator":              onStream(0, (*Server).serving, (*Server).getShardIterator),
		"GetRecords":                    op(0, (*Server).getRecords),
		"RegisterStreamConsumer":        op(5, (*Server).registerStreamConsumer),
		"DeregisterStreamConsumer":      op(5, (*Server).deregisterStreamConsumer),
		"DescribeStreamConsumer":        op(20, (*Server).describeStreamConsumer),
		"ListStreamConsumers":           op(5, (*Server).listStreamConsumers),
		"SubscribeToShard":              op(0, (*Server).subscribeToShard),
		"SplitShard":                    onStream(5, (*Server).active, (*Server).splitShard),
		"MergeShards":                   onStream(5, (*Server).active, (*Server).mergeShards),
		"UpdateShardCount":              onStream(10, (*Server).active, (*Server).updateShardCount),
		"IncreaseStreamRetentionPeriod": op(5, (*Server).increaseRetention),
		"DecreaseStreamRetentionPeriod": op(5, (*Server).decreaseRetention),
		"UpdateMaxRecordSize":           onStream(5, (*Server).active, (*Server).updateMaxRecordSize),
	}
}

// op makes an operation of a method: decode, check, lock, settle, meter, do,
// encode. rate is in calls a second; 0: not limited here.
func op[T any, In interface {
	*T
	input
}](rate int, do func(*Server, In, time.Time) (any, *Fault)) operation {
	return func(s *Server, r *Request) (*Reply, *Fault) {
		in := In(new(T))
		if err := json.Unmarshal(r.Body, in); err != nil {
			return nil, fault("SerializationException", "%s", err)
		}
		var c checks
		in.check(&c)
		if f := c.fault(); f != nil {
			return nil, f
		}
		out, f := func() (any, *Fault) {
			s.mu.Lock()
			defer s.mu.Unlock()
			now := s.settle()
			if f := s.meterCall(r.Operation, in.ref(), rate, now); f != nil {
				return nil, f
			}
			return do(s, in, now)
		}()
		if f != nil {
			return nil, f
		}
		return encode(out, r.cbor)
	}
}

// onStream makes an operation of a method on a stream, which find finds.
func onStream[T any, In interface {
	*T
	input
}](rate int, find func(*Server, *streamRef) (*stream, *Fault),
	do func(*Server, *stream, In, time.Time) (any, *Fault),
) operation {
	return op(rate, func(s *Server, in In, now time.Time) (any, *Fault) {
		st, f := find(s, in.ref())
		if f != nil {
			return nil, f
		}
		return do(s, st, in, now)
	})
}

// meterCall counts a call against its rate. mu is held.
func (s *Server) meterCall(name string, ref *streamRef, rate int, now time.Time) *Fault {
	if rate == 0 || s.opts.NoLimits {
		return nil
	}
	stream := ref.name()
	if s.streams[stream] == nil {
		stream = ""
	}
	meter := s.calls[name+" "+stream]
	if meter == nil {
		meter = &callMeter{}
		s.calls[name+" "+stream] = meter
	}
	if meter.allow(now, rate) {
		return nil
	}
	if stream == "" {
		return fault("LimitExceededException", "Rate exceeded for account %s.", s.opts.Account)
	}
	return fault("LimitExceededException", "Rate exceeded for stream %s under account %s.", stream, s.opts.Account)
}

// encode turns an operation's output into a reply; nil makes an empty one.
func encode(out any, cbor bool) (*Reply, *Fault) {
	if out == nil {
		return &Reply{Status: http.StatusOK}, nil
	}
	if b, ok := out.(*subscription); ok {
		b.begin(cbor)
		return &Reply{Status: http.StatusOK, events: b}, nil
	}
	if p, ok := out.(pageOutput); ok {
		return &Reply{Status: http.StatusOK, page: &p}, nil
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, &Fault{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
	}
	return NewReply(http.StatusOK, body), nil
}
