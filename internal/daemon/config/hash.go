package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
)

// agreement is what must be the same in all processes that share a connection:
// of it the hash is made, so that fields are only ever added, with omitempty,
// and with nothing for their default: a new version must not disagree with an
// old one for nothing.
//
// Not in it: the region and the endpoint, for the stored ARN guards the stream;
// where a stream begins, which is decided once; and what each process may
// settle for itself, such as addresses, credentials, memory, pace and logs.
type agreement struct {
	Connection      string   `json:"connection"`
	Stream          string   `json:"stream"` // the name alone: some may say it by ARN
	Preset          string   `json:"preset"`
	Replication     bool     `json:"replication,omitempty"`
	Types           []string `json:"types,omitempty"` // in order, as the other lists: it is no matter there
	Projects        []string `json:"projects,omitempty"`
	Refs            []string `json:"refs,omitempty"`
	OnBadCheckpoint string   `json:"on_bad_checkpoint"`
	Sinks           []string `json:"sinks,omitempty"`
	Retention       string   `json:"retention,omitempty"` // the shortest would win
}

// Hash returns a short text that is the same for processes whose configurations
// agree in what all processes of a connection must agree in, and most likely
// different otherwise. It reveals nothing of what it is made from.
func (c *Config) Hash() string {
	a := agreement{
		Connection:      c.Connection,
		Stream:          streamName(c.Kinesis.Stream),
		Preset:          c.Filter.Preset,
		Replication:     c.Filter.Replication && c.Filter.Preset == gerrit.PresetZuul, // nothing to keep elsewhere
		Types:           inOrder(c.Filter.Types),
		Projects:        inOrder(c.Filter.Projects),
		Refs:            inOrder(c.Filter.Refs),
		OnBadCheckpoint: string(c.OnBadCheckpoint),
		Sinks:           inOrder(c.Sinks),
	}
	if kind := c.Store.Kind; kind != nil && kind.retention != nil {
		a.Retention = kind.retention(&c.Store).String()
	}
	text, err := json.Marshal(a)
	if err != nil { // it is made of texts and numbers
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// streamName returns a stream's name, also when it is given by ARN.
func streamName(stream string) string {
	return stream[strings.LastIndexByte(stream, '/')+1:]
}

func inOrder(texts []string) []string { return slices.Sorted(slices.Values(texts)) }
