package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// Each mistake is named, and all at once.
func TestValidate(t *testing.T) {
	ok := webhook.Hook{Name: "jenkins", URL: "https://ci.example.org/hook?token=s3cret"}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	for field, wrong := range map[string]webhook.Hook{
		"name":          {Name: "Jenkins"},
		"url":           {URL: "ftp://example.org/?token=s3cret"},
		"secrets":       {Secrets: []webhook.Secret{{}}},
		"format":        {Format: "xml"},
		"filter":        {Filter: queue.Filter{Types: []string{"^("}}},
		"order":         {Order: "random"},
		"concurrency":   {Concurrency: 101},
		"timeout":       {Timeout: time.Hour},
		"give_up_after": {GiveUpAfter: time.Second},
	} {
		if wrong.Name == "" {
			wrong.Name = ok.Name
		}
		if wrong.URL == "" {
			wrong.URL = ok.URL
		}
		expectFields(t, wrong, field)
	}
	expectFields(t, webhook.Hook{}, "name", "url")
	for _, url := range []webhook.URL{
		"", "https://", "https://h/#f", "http://h/", "://s3cret", "/path", "https://h:port/s3cret", "javascript:s3cret",
	} {
		expectFields(t, webhook.Hook{Name: "a", URL: url}, "url")
	}
	if err := (webhook.Hook{Name: "a", URL: "http://localhost:8080/", AllowPrivate: true}).Validate(); err != nil {
		t.Error(err)
	}
}

func expectFields(t *testing.T, h webhook.Hook, want ...string) {
	t.Helper()
	err := h.Validate()
	var got []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			var field *webhook.FieldError
			if !errors.As(err, &field) {
				t.Fatalf("%v is no FieldError", err)
			}
			got = append(got, field.Field)
		}
	}
	if !slices.Equal(got, want) || strings.Contains(fmt.Sprint(err), "s3cret") {
		t.Errorf("%v: %v, want mistakes in %q, and no secret", h, err, want)
	}
}

func TestParseSecrets(t *testing.T) {
	const first = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secrets, err := webhook.ParseSecrets("# rotated\n\n" + first + "\r\n whsec_" + strings.Repeat("QUJD", 8))
	if err != nil || len(secrets) != 2 {
		t.Errorf("%d secrets, %v", len(secrets), err)
	}
	for what, text := range map[string]string{
		"nothing": "", "a comment": "# " + first, "no prefix": first[6:], "no base64": "whsec_!!!!" + first[10:],
		"too short": "whsec_QUJD", "too long": "whsec_" + strings.Repeat("QUJD", 22), "two on a line": first + " " + first,
	} {
		if _, err := webhook.ParseSecrets(text); err == nil || strings.Contains(err.Error(), "MfKQ9") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// However a hook is printed, its secrets are not.
func TestSecretsAreNotPrinted(t *testing.T) {
	secret, err := webhook.ParseSecret("whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0")
	if err != nil {
		t.Fatal(err)
	}
	h := webhook.Hook{Name: "a", URL: "https://u:secret@h/secret?t=secret", Secrets: []webhook.Secret{secret}}
	var logged strings.Builder
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	log.Info("x", "hook", h, "hooks", []webhook.Hook{h}, "pointer", &h, "secret", secret)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "hook", h, "pointer", &h, "secret", secret)
	for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, what := range []any{h, &h, []webhook.Hook{h}, secret, &secret, h.Secrets, map[string]any{"a": secret}} {
			fmt.Fprintf(&logged, form+"\n", what)
		}
	}
	text, _ := json.Marshal(map[string]any{"s": secret, "p": &secret})
	logged.Write(text)
	for _, forbidden := range []string{"secretsecret", "c2VjcmV0", "736563726574", "u:secret", "t=secret", "115 101"} {
		if strings.Contains(logged.String(), forbidden) {
			t.Errorf("%q was printed:\n%s", forbidden, logged.String())
		}
	}
}
