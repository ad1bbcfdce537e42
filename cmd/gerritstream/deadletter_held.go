package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/webhook"
)

// heldLetter is a dead letter of either kind: a record that was not queued, or
// an event that a webhook gave up.
type heldLetter struct {
	stored gerritstream.StoredDeadLetter
	hook   string // empty: a record that was not queued
}

// letterKey identifies a dead letter of either kind.
type letterKey struct {
	id   gerritstream.EventID
	hook string
}

func (l *heldLetter) key() letterKey { return letterKey{l.stored.DeadLetter.ID, l.hook} }

// ofHook returns a webhook's letter. It has the whole event.
func ofHook(l *webhook.StoredLetter) heldLetter {
	e := &l.Letter.Event.Entry
	return heldLetter{gerritstream.StoredDeadLetter{StoredAt: l.StoredAt, DeadLetter: gerritstream.DeadLetter{
		ID: e.ID, Shard: e.Shard, Seq: e.Seq, Sub: e.Sub, Arrived: e.Arrived, Reason: webhook.ReasonWebhook,
		Detail: l.Letter.Detail, Payload: e.Payload, Length: len(e.Payload), SHA256: sha256.Sum256(e.Payload),
	}}, l.Letter.Hook}
}

// deadLetters yields the dead letters of both kinds, newest first.
func (o operated) deadLetters(ctx context.Context) iter.Seq2[heldLetter, error] {
	return func(yield func(heldLetter, error) bool) {
		next, stop := iter.Pull2(o.hookLetters(ctx))
		defer stop()
		of, err, more := next()
		for d, failed := range o.store.DeadLetters(ctx) {
			for ; more && err == nil && failed == nil && of.stored.StoredAt.After(d.StoredAt); of, err, more = next() {
				if !yield(of, nil) {
					return
				}
			}
			if !yield(heldLetter{stored: d}, failed) || failed != nil {
				return
			}
		}
		for ; more; of, err, more = next() {
			if !yield(of, err) || err != nil {
				return
			}
		}
	}
}

// hookLetters yields those of webhooks.
func (o operated) hookLetters(ctx context.Context) iter.Seq2[heldLetter, error] {
	return func(yield func(heldLetter, error) bool) {
		if o.hooks == nil {
			return
		}
		for l, err := range o.hooks.HookLetters(ctx) {
			if !yield(ofHook(&l), err) {
				return
			}
		}
	}
}

// deadLettersOf returns the dead letters with an id: at most one record that
// was not queued, and one for each webhook, or only that of one webhook. There
// is at least one, or an error.
func (o operated) deadLettersOf(
	ctx context.Context, id gerritstream.EventID, hook string,
) (found []heldLetter, err error) {
	d, missing := o.store.DeadLetter(ctx, id)
	switch {
	case missing != nil && !errors.Is(missing, gerritstream.ErrNoDeadLetter):
		return nil, missing
	case missing == nil && hook == "":
		found = append(found, heldLetter{stored: d})
	}
	if o.hooks != nil {
		letters, err := o.hooks.HookLettersOf(ctx, id)
		if err != nil {
			return nil, err
		}
		for i := range letters {
			if hook == "" || hook == letters[i].Letter.Hook {
				found = append(found, ofHook(&letters[i]))
			}
		}
	}
	if len(found) == 0 {
		if missing == nil {
			missing = gerritstream.ErrNoDeadLetter
		}
		return nil, missing
	}
	return found, nil
}

// dropDeadLetters returns how many of them there were.
func (o operated) dropDeadLetters(ctx context.Context, keys []letterKey) (dropped int, err error) {
	var ids []gerritstream.EventID
	var ofHooks []webhook.LetterKey
	for _, k := range keys {
		if k.hook == "" {
			ids = append(ids, k.id)
		} else {
			ofHooks = append(ofHooks, webhook.LetterKey{Hook: k.hook, ID: k.id})
		}
	}
	if len(ids) > 0 {
		if dropped, err = o.store.DropDeadLetters(ctx, ids); err != nil {
			return 0, err
		}
	}
	if len(ofHooks) > 0 {
		n, err := o.hooks.DropHookLetters(ctx, ofHooks)
		return dropped + n, err
	}
	return dropped, nil
}
