package main

// webhookStoreMutants are the breaks of what stores keep for webhooks, and of
// their settings.
var webhookStoreMutants = []mutant{
	{
		name: "webhooks: a process without the lease puts an event aside",
		file: "sqlite/hookletters.go",
		old:  "SELECT EXISTS (SELECT 1 FROM leases WHERE shard = ? AND process = ?)",
		new:  "SELECT EXISTS (SELECT 1 FROM leases WHERE shard = ? OR process = ?)",
		pkg:  "./sqlite", tests: "TestWebhooks",
	},
	{
		name: "webhooks: an event that is put aside again replaces its letter",
		file: "sqlite/hookletters.go",
		old:  "ON CONFLICT (webhook, id) DO NOTHING`, row...)",
		new:  "ON CONFLICT (webhook, id) DO UPDATE SET detail = excluded.detail`, row...)",
		pkg:  "./sqlite", tests: "TestWebhooks",
	},
	{
		name: "webhooks: a letter that is redriven stays",
		file: "sqlite/hookletters.go",
		old:  "return tx.exec(dropHookLetter, key.Hook, key.ID[:])",
		new:  "return nil",
		pkg:  "./sqlite", tests: "TestWebhooks",
	},
	{
		name: "webhooks: what waits under an earlier number is not redriven",
		file: "sqlite/hookletters.go",
		old:  "WHERE l.webhook = ?2 AND l.id = ?3 AND c.name = ?4 AND q.name = 'events'`,",
		new:  "WHERE l.webhook = ?2 AND l.id = ?3 AND c.name = ?4 AND q.name = 'events' AND c.n >= l.n`,",
		pkg:  "./sqlite", tests: "TestWebhooks",
	},
	{
		name: "webhooks: a letter that expires is not counted",
		file: "sqlite/hookletters.go",
		old:  "		losers[hook].lose(arrived)\n",
		new:  "",
		pkg:  "./sqlite", tests: "TestRetentionOfHookLetters",
	},
	{
		name: "webhooks: letters expire as soon as all consumers have passed",
		file: "sqlite/retention.go",
		old:  "letters, err = removeHookLetters(tx, x)",
		new:  "letters, err = removeHookLetters(tx, expiry{all: before.UnixMilli()})",
		pkg:  "./sqlite", tests: "TestRetentionOfHookLetters",
	},
	{
		name: "webhooks: the receiver's pause is taken over by an operator's",
		file: "sqlite/webhooks.go",
		old:  "SET pause = coalesce(pause, excluded.pause)",
		new:  "SET pause = excluded.pause",
		pkg:  "./sqlite", tests: "TestWebhooks",
	},
	{
		name: "webhooks: a secret that every user may read is used",
		file: "internal/daemon/config/webhooks.go",
		old:  "info.Mode().Perm()&0o007 != 0",
		new:  "info.Mode().Perm()&0o002 != 0",
		pkg:  "./internal/daemon/config", tests: "TestWebhookFaults",
	},
	{
		name: "webhooks: they are accepted where Zuul consumes the queue",
		file: "internal/daemon/config/webhooks.go",
		old:  "kind != nil && kind.queue == nil {",
		new:  "kind != nil && kind.open == nil {",
		pkg:  "./internal/daemon/config", tests: "TestWebhooksNeedAQueue",
	},
}
