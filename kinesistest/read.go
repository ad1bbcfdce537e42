package kinesistest

import (
	"encoding/json"
	"strconv"
	"time"
)

// GetShardIterator: an iterator stands for a place in a shard and lasts five
// minutes. Five a second and shard. A sequence number that was trimmed means
// the trim horizon; one of a deleted stream or of another shard is refused, and
// so is a time in the future.

type getShardIteratorInput struct {
	streamRef
	ShardId                *string //nolint:revive,staticcheck // as in the request
	ShardIteratorType      *string
	StartingSequenceNumber *string
	Timestamp              *epoch
}

func (in *getShardIteratorInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.name(in.ShardId, "shardId", true)
	c.oneOf(in.ShardIteratorType, "shardIteratorType",
		"AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON")
	c.sequenceNumber(in.StartingSequenceNumber, "startingSequenceNumber")
}

type getShardIteratorOutput struct{ ShardIterator string }

func (s *Server) getShardIterator(st *stream, in *getShardIteratorInput, now time.Time) (any, *Fault) {
	sh := st.find(*in.ShardId)
	if sh == nil {
		return nil, s.noSuchShard(*in.ShardId, st)
	}
	if !s.opts.NoLimits && !sh.meters.iterators.allow(now, iteratorsASecond) {
		return nil, s.rateExceeded(sh)
	}
	at, f := s.startingPlace(in, sh, now)
	if f != nil {
		return nil, f
	}
	return getShardIteratorOutput{s.sealed(newIterator(sh, at, now))}, nil
}

// startingPlace returns where in the shard an iterator of that type stands.
func (s *Server) startingPlace(in *getShardIteratorInput, sh *shard, now time.Time) (place, *Fault) {
	kind := *in.ShardIteratorType
	bySequence := kind == "AT_SEQUENCE_NUMBER" || kind == "AFTER_SEQUENCE_NUMBER"
	switch {
	case kind != "AT_TIMESTAMP" && bySequence != (in.StartingSequenceNumber != nil):
		has := "no StartingSequenceNumber."
		if in.StartingSequenceNumber != nil {
			has = "also a StartingSequenceNumber."
		}
		return place{}, invalid("Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and "+
			"StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. "+
			"Request specified %s and %s", kind, has)
	case bySequence:
		return s.sequencePlace(*in.StartingSequenceNumber, kind == "AFTER_SEQUENCE_NUMBER", sh)
	case kind == "AT_TIMESTAMP" && in.Timestamp == nil:
		return place{}, invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. " +
			"Current request has no timestamp parameter.")
	case kind == "AT_TIMESTAMP" && int64(*in.Timestamp) > now.UnixMilli():
		return place{}, invalid("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "+
			"timestampInMillis: %d, currentTimestampInMillis: %d", int64(*in.Timestamp), now.UnixMilli())
	case kind == "AT_TIMESTAMP":
		return place{ms: int64(*in.Timestamp)}, nil
	case kind == "LATEST":
		return sh.tip(now), nil
	}
	return place{}, nil
}

// sequencePlace returns the place of a sequence number, or the next one.
func (s *Server) sequencePlace(number string, after bool, sh *shard) (place, *Fault) {
	q, ok := parseSequence(number)
	used := "StartingSequenceNumber %s used in GetShardIterator on shard %s in stream %s under account %s is invalid"
	switch {
	case !ok:
		return place{}, invalid(used+".", number, sh.id, sh.stream.name, s.opts.Account)
	case q.stream != sh.stream.created.UnixMilli():
		return place{}, invalid(used+" because it did not come from this stream.",
			number, sh.id, sh.stream.name, s.opts.Account)
	case q.shard != sh.index:
		return place{}, invalid("Invalid StartingSequenceNumber. It encodes %s, "+
			"while it was used in a call to a shard with %s", shardID(q.shard), sh.id)
	}
	at := place{q.ms, q.n}
	if !after {
		return at, nil
	}
	if sh.closed && at.compare(sh.endPlace()) >= 0 {
		return place{}, invalid("SequenceNumber has reached max possible value for the shard")
	}
	return at.next(), nil
}

// GetRecords: a page of at most 10 MiB and 10,000 records from the iterator's
// place on, the next iterator, and how far the end of the page is from the tip.
// Five calls, 2 MiB and 2,000 records a second and shard; reads beyond that are
// a debt, and fail until it is paid off. A closed shard's last page has no next
// iterator and names the children.

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
	if !s.opts.NoLimits && !sh.meters.allowRead(now) {
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
	sh.meters.readBytes.charge(now, size, readBytesASecond)
	sh.meters.records.charge(now, len(p.records), recordsASecond)
	out := pageOutput{page: p}
	if p.end {
		out.children = sh.children
	} else {
		out.iterator = s.sealed(newIterator(sh, p.next, now))
	}
	return out, nil
}

// iteratorPlace finds the shard and the place of an iterator.
func (s *Server) iteratorPlace(in *getRecordsInput, now time.Time) (*shard, place, *Fault) {
	var it iterator
	if !s.open(*in.ShardIterator, &it) {
		return nil, place{}, invalid("Invalid ShardIterator.")
	}
	if issued := time.UnixMilli(it.Issued); now.Sub(issued) > iteratorLife {
		const layout = "Mon Jan 02 15:04:05 UTC 2006"
		return nil, place{}, fault("ExpiredIteratorException", "Iterator expired. The iterator was created at time %s "+
			"while right now it is %s which is further in the future than the tolerated delay of %d milliseconds.",
			issued.UTC().Format(layout), now.UTC().Format(layout), iteratorLife.Milliseconds())
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
	if sh == nil || st.created.UnixMilli() != it.Created {
		return nil, place{}, s.noSuchShard(shardID(it.Shard), st)
	}
	return sh, place{it.Ms, it.N}, nil
}

// pageOutput is a page about to be written. Its records were rendered in CBOR
// when they were stored.
type pageOutput struct {
	page     page
	iterator string
	children []*shard
}

type childShard struct {
	ShardId      string //nolint:revive,staticcheck // as in the reply
	ParentShards []string
	HashKeyRange hashKeyRange
}

func (p *pageOutput) renderJSON() [][]byte {
	size := 0
	for i := range p.page.records {
		size += len(p.page.records[i].cbor)*4/3 + 128
	}
	body := append(make([]byte, 0, size+1024), `{"Records":[`...)
	for i := range p.page.records {
		if i > 0 {
			body = append(body, ',')
		}
		body = p.page.records[i].appendJSON(body)
	}
	body = strconv.AppendInt(append(body, `],"MillisBehindLatest":`...), p.page.lag, 10)
	if p.iterator != "" {
		body = append(body, `,"NextShardIterator":"`+p.iterator+`"`...)
	}
	if p.page.end {
		body = append(append(body, `,"ChildShards":`...), p.childList()...)
	}
	return [][]byte{append(body, '}')}
}

func (p *pageOutput) renderCBOR() [][]byte {
	parts := make([][]byte, 0, len(p.page.records)+2)
	parts = append(parts, append(appendText([]byte{cborOpenMap}, "Records"), cborOpenList))
	for i := range p.page.records {
		parts = append(parts, p.page.records[i].cbor)
	}
	lag := uint64(p.page.lag) //nolint:gosec // not negative
	tail := appendHead(appendText([]byte{cborEnd}, "MillisBehindLatest"), 0, lag)
	if p.iterator != "" {
		tail = appendText(appendText(tail, "NextShardIterator"), p.iterator)
	}
	if p.page.end {
		list, _ := cborOfJSON(p.childList()) // it is JSON of ours
		tail = append(appendText(tail, "ChildShards"), list...)
	}
	return append(parts, append(tail, cborEnd))
}

// childList is the JSON of the children.
func (p *pageOutput) childList() []byte {
	children := make([]childShard, 0, len(p.children))
	for _, c := range p.children {
		children = append(children, childShard{c.id, c.parents, c.hashKeys()})
	}
	list, _ := json.Marshal(children) // strings can always be marshalled
	return list
}
