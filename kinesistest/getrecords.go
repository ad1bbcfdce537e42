package kinesistest

import (
	"encoding/json"
	"strconv"
	"time"
)

// GetRecords: a page of at most 10 MiB and 10,000 records from where the
// iterator stands, the next iterator, and how far the end of the page is from
// the tip. Five calls and 2 MiB a second and shard; what is read beyond that is
// owed, and reads fail until it is paid off. A closed shard's last page has no
// next iterator and names the children.

type getRecordsInput struct {
	ShardIterator *string
	Limit         *int
	StreamARN     *string
}

func (in *getRecordsInput) ref() *streamRef { return nil }

func (in *getRecordsInput) check(c *checks) {
	c.text(in.ShardIterator, text{member: "shardIterator", required: true, most: 512})
	c.number(in.Limit, "limit", 1, maxPageRecords)
}

func (s *Server) getRecords(in *getRecordsInput, now time.Time) (any, *Fault) {
	sh, from, f := s.iteratorPlace(in, now)
	if f != nil {
		return nil, f
	}
	if !s.opts.NoLimits && !sh.allowRead(now) {
		return nil, s.rateExceeded(sh)
	}
	limit := maxPageRecords
	if in.Limit != nil {
		limit = *in.Limit
	}
	p := sh.read(from, limit, &s.opts, now)
	size := 0
	for i := range p.records {
		size += p.records[i].size
	}
	sh.readBytes.charge(now, size, readBytesASecond)
	out := pageOutput{page: p}
	if p.end {
		out.children = sh.children
	} else {
		out.iterator = s.sealed(newIterator(sh, p.next, now))
	}
	return out, nil
}

// iteratorPlace finds the shard and the place an iterator stands at.
func (s *Server) iteratorPlace(in *getRecordsInput, now time.Time) (*shard, place, *Fault) {
	var it iterator
	if !s.open(*in.ShardIterator, &it) {
		return nil, place{}, invalid("Invalid ShardIterator.")
	}
	if issued := time.UnixMilli(it.Issued); now.Sub(issued) > iteratorLife {
		return nil, place{}, iteratorExpired(issued, now)
	}
	if in.StreamARN != nil {
		if f := s.checkARN(*in.StreamARN, it.Stream); f != nil {
			return nil, place{}, f
		}
	}
	st := s.streams[it.Stream]
	if st == nil || !st.serving() {
		return nil, place{}, s.streamNotFound(it.Stream, s.opts.Account)
	}
	sh := st.find(shardID(it.Shard))
	if sh == nil || st.created.UnixMilli() != it.Born {
		return nil, place{}, fault("ResourceNotFoundException", "Shard %s in stream %s under account %s does not exist",
			shardID(it.Shard), st.name, s.opts.Account)
	}
	return sh, place{it.Ms, it.N}, nil
}

func iteratorExpired(issued, now time.Time) *Fault {
	const layout = "Mon Jan 02 15:04:05 UTC 2006"
	return fault("ExpiredIteratorException", "Iterator expired. The iterator was created at time %s while right now it is %s "+
		"which is further in the future than the tolerated delay of %d milliseconds.",
		issued.UTC().Format(layout), now.UTC().Format(layout), iteratorLife.Milliseconds())
}

// allowRead reports whether the shard may be read now, and counts the call if
// so.
func (sh *shard) allowRead(now time.Time) bool {
	return sh.readBytes.allow(now, readBytesASecond) && sh.reads.allow(now, readsASecond)
}

// pageOutput is a page on its way out: the records are written as they were
// rendered when they came.
type pageOutput struct {
	page
	iterator string
	children []*shard
}

type childShard struct {
	ShardId      string //nolint:revive,staticcheck // as in the reply
	ParentShards []string
	HashKeyRange hashKeyRange
}

func (p pageOutput) render() [][]byte {
	parts := make([][]byte, 0, 2*len(p.records)+2)
	parts = append(parts, []byte(`{"Records":[`))
	comma := []byte(",")
	for i := range p.records {
		if i > 0 {
			parts = append(parts, comma)
		}
		parts = append(parts, p.records[i].json)
	}
	return append(parts, p.renderTail())
}

func (p pageOutput) renderTail() []byte {
	tail := strconv.AppendInt([]byte(`],"MillisBehindLatest":`), p.behind, 10)
	if p.iterator != "" {
		tail = append(tail, `,"NextShardIterator":"`+p.iterator+`"`...)
	}
	if p.end {
		children := make([]childShard, 0, len(p.children))
		for _, c := range p.children {
			children = append(children, childShard{c.id, c.parents, c.hashKeys()})
		}
		list, _ := json.Marshal(children) // strings always can be
		tail = append(append(tail, `,"ChildShards":`...), list...)
	}
	return append(tail, '}')
}
