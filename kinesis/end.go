package kinesis

import (
	"context"

	"github.com/gerritstream/gerritstream"
)

// A reply without a next iterator ends a shard only with proof, for nothing
// after the end is ever read:
//
//   - it names the shard's children, as AWS does. A service that has ever named
//     children is held to that.
//   - Or a complete listing has the shard's last number, and the service says
//     the same three times in a row. kinesalite never names children.
//
// Any other such reply is a bad one: it is trouble, and asked for again with
// the same iterator.
const endReplies = 3

// ending is what a reading knows about the end of its shard. It belongs to the
// reading's goroutine.
type ending struct {
	listed  bool // a complete listing had the shard's last number
	replies int  // in a row that have no next iterator and name no children
}

// checkEnd returns nil if a reply without a next iterator is the shard's end.
func (r *reading) checkEnd(ctx context.Context, p *page) error {
	if len(p.reply.children) > 0 {
		r.source.namesChildren.Store(true)
		return nil
	}
	if r.source.namesChildren.Load() {
		return r.badEnd("and this service names the children of a shard that has ended")
	}
	if err := r.findEnd(ctx); err != nil {
		return err
	}
	if r.ending.replies++; r.ending.replies < endReplies {
		e := r.badEnd("which is to be confirmed")
		e.class = unconfirmed
		return e
	}
	return nil
}

// findEnd looks for the shard's last number in a listing, unless it was there
// before.
func (r *reading) findEnd(ctx context.Context) error {
	if r.ending.listed {
		return nil
	}
	shard, err := r.source.findShard(ctx, r.shard)
	switch {
	case err != nil:
		return r.listingError(ctx, err)
	case shard.Last == "":
		return r.badEnd("and the shard is listed as open")
	}
	r.ending.listed = true
	return nil
}

// findShard finds a shard in a complete listing. Its error has the class
// notFound if the shard is not listed.
func (s *Source) findShard(ctx context.Context, id gerritstream.ShardID) (gerritstream.Shard, error) {
	shards, err := s.listShards(ctx)
	if err != nil {
		return gerritstream.Shard{}, err
	}
	for _, shard := range shards {
		if shard.ID == id {
			return shard, nil
		}
	}
	return gerritstream.Shard{}, &Error{Operation: "kinesis:ListShards", Resource: s.resource(string(id)),
		class: notFound, Message: "the shard is not listed"}
}

func (r *reading) badEnd(why string) *Error {
	return &Error{Operation: "kinesis:GetRecords", Resource: r.source.resource(string(r.shard)),
		Message: "the reply has neither a next iterator nor child shards, " + why}
}
