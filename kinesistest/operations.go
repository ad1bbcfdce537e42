package kinesistest

import (
	"encoding/json"
	"net/http"
	"time"
)

// input is a request's JSON: it says what is wrong with itself, and which
// stream it is about.
type input interface {
	check(c *checks)
	ref() *streamRef // nil: no stream, or one that is named in another way
}

// operation answers one kind of request.
type operation func(s *Server, body []byte) (*Reply, *Fault)

// renderer is an output that writes its own JSON.
type renderer interface{ render() [][]byte }

// operations names all that the server knows, with the calls a second that AWS
// lets an account make for one stream.
func operations() map[string]operation {
	return map[string]operation{
		"CreateStream":                  op("CreateStream", 5, (*Server).createStream),
		"DeleteStream":                  op("DeleteStream", 5, (*Server).deleteStream),
		"DescribeStream":                op("DescribeStream", 10, (*Server).describeStream),
		"DescribeStreamSummary":         op("DescribeStreamSummary", 20, (*Server).describeStreamSummary),
		"ListStreams":                   op("ListStreams", 5, (*Server).listStreams),
		"ListShards":                    op("ListShards", 1000, (*Server).listShards),
		"PutRecord":                     op("PutRecord", 0, (*Server).putRecord),
		"PutRecords":                    op("PutRecords", 0, (*Server).putRecords),
		"GetShardIterator":              op("GetShardIterator", 0, (*Server).getShardIterator),
		"GetRecords":                    op("GetRecords", 0, (*Server).getRecords),
		"SplitShard":                    op("SplitShard", 5, (*Server).splitShard),
		"MergeShards":                   op("MergeShards", 5, (*Server).mergeShards),
		"UpdateShardCount":              op("UpdateShardCount", 10, (*Server).updateShardCount),
		"IncreaseStreamRetentionPeriod": op("IncreaseStreamRetentionPeriod", 5, (*Server).increaseRetention),
		"DecreaseStreamRetentionPeriod": op("DecreaseStreamRetentionPeriod", 5, (*Server).decreaseRetention),
		"UpdateMaxRecordSize":           op("UpdateMaxRecordSize", 5, (*Server).updateMaxRecordSize),
	}
}

// op makes an operation of a method: decode, check, lock, bring up to date,
// meter, do, encode. rate is in calls a second; 0 means that none is counted
// here.
func op[T any, In interface {
	*T
	input
}](name string, rate int, do func(*Server, In, time.Time) (any, *Fault)) operation {
	return func(s *Server, body []byte) (*Reply, *Fault) {
		in := In(new(T))
		if err := json.Unmarshal(body, in); err != nil {
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
			now := s.now()
			s.settleAll(now)
			if f := s.meterCall(name, in.ref(), rate, now); f != nil {
				return nil, f
			}
			return do(s, in, now)
		}()
		if f != nil {
			return nil, f
		}
		return encode(out)
	}
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

// encode makes a reply of an operation's output; nil is an empty one.
func encode(out any) (*Reply, *Fault) {
	if out == nil {
		return &Reply{Status: http.StatusOK}, nil
	}
	if r, ok := out.(renderer); ok {
		return &Reply{Status: http.StatusOK, parts: r.render()}, nil
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, &Fault{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
	}
	return NewReply(http.StatusOK, body), nil
}
