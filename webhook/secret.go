package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Sizes of a secret, as Standard Webhooks has them.
const (
	minSecret = 24
	maxSecret = 64
)

// secretPrefix is what a secret in text begins with.
const secretPrefix = "whsec_"

// Secret signs requests. However it is printed, its bytes are not. The zero
// Secret is none.
type Secret struct{ key string }

// ParseSecret reads a secret in the form of Standard Webhooks: "whsec_" and the
// base64 of 24 to 64 bytes. The error repeats nothing of it.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return Secret{}, fmt.Errorf("a secret begins with %s: %s and the base64 of %d to %d random bytes",
			secretPrefix, secretPrefix, minSecret, maxSecret)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return Secret{}, errors.New("what follows " + secretPrefix + " is not base64")
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return Secret{}, fmt.Errorf("a secret of %d bytes: it has %d to %d", len(key), minSecret, maxSecret)
	}
	return Secret{string(key)}, nil
}

// ParseSecrets reads the content of a file of secrets: one a line, at least
// one. Empty lines and those that begin with # do not count.
func ParseSecrets(text string) ([]Secret, error) {
	var secrets []Secret
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := ParseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		secrets = append(secrets, s)
	}
	if len(secrets) == 0 {
		return nil, errors.New("there is no secret in it")
	}
	return secrets, nil
}

func (s Secret) isZero() bool { return s.key == "" }

const redacted = "REDACTED"

// String returns no secret.
func (Secret) String() string { return redacted }

// Format prints no secret, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns no secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns no secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
