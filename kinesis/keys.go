package kinesis

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Keys is a key held in memory: its id and its secret, and a few words on where
// they came from. Those words are all that is ever printed of it, in whatever
// way. The zero Keys is no key.
type Keys struct {
	held func() (id, secret, from string) // a function hides its values from printing by reflection
	read func() (Keys, error)             // nil: the key does not change
}

var (
	_ fmt.Formatter           = Keys{}
	_ slog.LogValuer          = Keys{}
	_ encoding.TextMarshaler  = Keys{}
	_ aws.CredentialsProvider = Keys{}
)

// NewKeys returns a key. from names where it came from, in logs and errors:
// "zuul.conf [connection gerrit]".
func NewKeys(id, secret, from string) Keys {
	return Keys{held: func() (string, string, string) { return id, secret, from }}
}

// Reread returns the key with a way to read it again where it came from. A
// Source calls read every five minutes, and when the service refuses the key;
// read may be called by several goroutines at once. An error of read, and a key
// that is zero or incomplete, count like a key file that cannot be read.
func (k Keys) Reread(read func() (Keys, error)) Keys {
	k.read = read
	return k
}

// IsZero reports whether there is no key.
func (k Keys) IsZero() bool { return k.held == nil }

// String returns where the key came from; "" for the zero Keys.
func (k Keys) String() string {
	if k.held == nil {
		return ""
	}
	_, _, from := k.held()
	return from
}

// Format implements [fmt.Formatter]: every verb prints what String returns.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) } // as the formatter of any text

// LogValue implements [slog.LogValuer] with what String returns.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText implements [encoding.TextMarshaler] with what String returns.
func (k Keys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Retrieve implements [aws.CredentialsProvider]. What it returns holds the key
// in the clear.
func (k Keys) Retrieve(context.Context) (found aws.Credentials, err error) {
	current := k
	if k.read != nil {
		if current, err = k.read(); err != nil {
			return aws.Credentials{}, fmt.Errorf("read credentials: %w", err)
		}
		found.CanExpire, found.Expires = true, time.Now().Add(rereadInterval)
	}
	switch problem := current.problem(); {
	case current.held == nil:
		return aws.Credentials{}, fmt.Errorf("read credentials: there is no key in %s", k)
	case problem != "":
		return aws.Credentials{}, fmt.Errorf("read credentials: %s: %s", k, problem)
	}
	found.AccessKeyID, found.SecretAccessKey, found.Source = current.held()
	return found, nil
}

// problem describes what is wrong with the key without quoting it; "": nothing.
func (k Keys) problem() string {
	if k.held == nil {
		return ""
	}
	id, secret, _ := k.held()
	switch {
	case id == "" || secret == "":
		return "a key needs both an id and a secret"
	case strings.ContainsFunc(id+secret, unicode.IsSpace):
		return "a key's id or secret is more than one word"
	}
	return ""
}
