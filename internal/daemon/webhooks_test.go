package daemon

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/webhook"
)

// secretText returns a secret of its own for each number.
func secretText(n byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32))
}

// TestSecretsAreReadAgain: a secret is rotated without a restart. Files that
// cannot be used for now change nothing, and are logged once.
func TestSecretsAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		first, second := filepath.Join(folder, "first"), filepath.Join(folder, "second")
		// put replaces a file, as tools that rotate secrets do.
		put := func(name, text string, mode os.FileMode) {
			t.Helper()
			for _, err := range []error{
				os.WriteFile(name+".new", []byte(text), 0o600), os.Chmod(name+".new", mode),
				os.Rename(name+".new", name),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		var log bytes.Buffer
		s := &secrets{
			webhook: &config.Webhook{SecretFiles: []string{first, second}},
			log:     slog.New(slog.NewTextHandler(&log, nil)),
		}
		signedWith := func(numbers ...byte) {
			t.Helper()
			var want []webhook.Secret
			for _, n := range numbers {
				secret, err := webhook.ParseSecret(secretText(n))
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, secret)
			}
			time.Sleep(2 * secretsEvery)
			for range 2 {
				if !slices.Equal(s.current(), want) {
					t.Errorf("not the secrets %v", numbers)
				}
			}
		}
		put(first, secretText(1), 0o600)
		if err := s.begin(); err == nil || !strings.Contains(err.Error(), second) {
			t.Errorf("it begins without a file: %v", err)
		}
		put(second, secretText(2)+"\n"+secretText(3), 0o600)
		if err := s.begin(); err != nil {
			t.Fatal(err)
		}
		signedWith(1, 2, 3)
		put(first, secretText(4), 0o600)
		signedWith(4, 2, 3)
		put(first, "whsec_sesame", 0o600)
		signedWith(4, 2, 3)
		if err := os.Remove(second); err != nil {
			t.Fatal(err)
		}
		signedWith(4, 2, 3)
		put(first, secretText(5), 0o600)
		put(second, secretText(6), 0o604)
		signedWith(4, 2, 3)
		if err := os.Chmod(second, 0o600); err != nil {
			t.Fatal(err)
		}
		signedWith(5, 6)
		if n := strings.Count(log.String(), "cannot be used"); n != 3 {
			t.Errorf("%d warnings, want 3: %s", n, log.String())
		}
		for n := byte(1); n <= 6; n++ {
			if strings.Contains(log.String(), secretText(n)) || strings.Contains(log.String(), "sesame") {
				t.Errorf("a secret is logged: %s", log.String())
			}
		}
	})
}
