package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
)

// agreement is what must be the same in all processes that share a connection.
// Add fields only with omitempty and with nothing for their default, so that a
// new version does not disagree with an old one needlessly.
//
// It leaves out the region and the endpoint, for the stored ARN guards the
// stream; where a stream begins, which is decided once; and what each process
// may choose for itself, such as addresses, credentials, memory, pace and logs.
type agreement struct {
	Connection      string   `json:"connection"`
	Stream          string   `json:"stream"` // the name alone: some may give the ARN
	Preset          string   `json:"preset"`
	Replication     bool     `json:"replication,omitempty"`
	Types           []string `json:"types,omitempty"` // sorted, as the other lists
	Projects        []string `json:"projects,omitempty"`
	Refs            []string `json:"refs,omitempty"`
	OnBadCheckpoint string   `json:"on_bad_checkpoint"`
	Sinks           []string `json:"sinks,omitempty"`
	Retention       string   `json:"retention,omitempty"` // the shortest would win
	Webhooks        []string `json:"webhooks,omitempty"`  // any process may deliver
}

// Hash returns a short text that is the same for processes whose configurations
// agree in what all processes of a connection must agree in, and most likely
// different otherwise. It reveals nothing of what it is made from.
func (c *Config) Hash() string {
	sorted := func(texts []string) []string { return slices.Sorted(slices.Values(texts)) }
	a := agreement{
		Connection:      c.Connection,
		Stream:          c.Kinesis.Stream[strings.LastIndexByte(c.Kinesis.Stream, '/')+1:],
		Preset:          c.Filter.Preset,
		Replication:     c.Filter.Replication && c.Filter.Preset == gerrit.PresetZuul, // others drop nothing
		Types:           sorted(c.Filter.Types),
		Projects:        sorted(c.Filter.Projects),
		Refs:            sorted(c.Filter.Refs),
		OnBadCheckpoint: string(c.OnBadCheckpoint),
		Sinks:           sorted(c.Sinks),
	}
	if kind := c.Store.Kind; kind != nil && kind.retention != nil {
		a.Retention = kind.retention(&c.Store)
	}
	for i := range c.Webhooks {
		a.Webhooks = append(a.Webhooks, c.Webhooks[i].agreement())
	}
	slices.Sort(a.Webhooks)
	text, err := json.Marshal(a)
	if err != nil { // it holds only texts and bools
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
