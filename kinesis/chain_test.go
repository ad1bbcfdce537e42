package kinesis

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// withoutKeys removes the keys that inBubble puts into the environment, and
// points the SDK to files in a folder of the test's own.
func withoutKeys(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", dir+"/credentials")
	t.Setenv("AWS_CONFIG_FILE", dir+"/config")
	return dir
}

// inFiles is inBubble for a Source whose key the SDK finds in the shared files.
func inFiles(t *testing.T, change func(*Config), test func(*testing.T, *world)) {
	t.Helper()
	inBubble(t, kinesistest.Options{}, 1, func(c *Config) {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
			_ = os.Unsetenv(name) // inBubble puts back what was there
		}
		if change != nil {
			change(c)
		}
	}, test)
}

// refuse makes the service refuse a key from now on.
func (w *world) refuse(id string) {
	w.srv.On(kinesistest.Hook{
		Match: func(r *kinesistest.Request) bool {
			return strings.Contains(r.Header.Get("Authorization"), "Credential="+id+"/")
		},
		Do: kinesistest.Fail("UnrecognizedClientException", "refused", 0),
	})
}

// denied lists the stream, and fails unless that is denied.
func (w *world) denied() {
	w.t.Helper()
	if _, err := w.src.List(w.t.Context()); err == nil {
		w.t.Fatal("the key was not refused")
	}
}

// The shared files are read again every five minutes.
func TestSharedFilesAreReadAgain(t *testing.T) {
	for _, file := range []string{"credentials", "config"} {
		dir := withoutKeys(t)
		write(t, dir, file, credentialsFile("ID1"))
		inFiles(t, nil, func(t *testing.T, w *world) {
			w.wantKey("ID1", "T")
			write(t, dir, file, credentialsFile("ID2"))
			time.Sleep(4 * time.Minute)
			w.wantKey("ID1", "T")
			time.Sleep(time.Minute + time.Second)
			w.wantKey("ID2", "T")
		})
	}
}

// They are read again at once if the key is refused.
func TestSharedFilesAreReadAgainWhenTheKeyIsRefused(t *testing.T) {
	dir := withoutKeys(t)
	write(t, dir, "credentials", credentialsFile("ID1"))
	inFiles(t, nil, func(_ *testing.T, w *world) {
		w.wantKey("ID1", "T")
		w.refuse("ID1")
		w.denied()
		w.denied() // nothing has changed yet
		write(t, dir, "credentials", credentialsFile("ID2"))
		w.wantKey("ID2", "T")
	})
}

// A file in the middle of being written takes no key away. A key that was
// removed from the file and is refused is not used again.
func TestSharedFilesThatGiveNoKey(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "broken": "[default\naws_access"} {
		t.Run(name, func(t *testing.T) {
			dir := withoutKeys(t)
			write(t, dir, "credentials", credentialsFile("ID1"))
			inFiles(t, nil, func(t *testing.T, w *world) {
				w.wantKey("ID1", "T")
				write(t, dir, "credentials", content)
				time.Sleep(rereadInterval + time.Second)
				w.wantKey("ID1", "T")
				write(t, dir, "credentials", credentialsFile("ID2"))
				time.Sleep(rereadInterval + time.Second)
				w.wantKey("ID2", "T")

				w.refuse("ID2")
				w.denied()
				write(t, dir, "credentials", content)
				asked := len(w.requests)
				w.denied()
				if len(w.requests) > asked {
					t.Error("a key that is gone and was refused was used again")
				}
			})
		})
	}
}

// A profile's role is assumed with the profile's current key, once an hour.
func TestRoleOfAProfileIsAssumedWithTheKeyOfTheFiles(t *testing.T) {
	dir := withoutKeys(t)
	write(t, dir, "config", "[default]\nrole_arn = "+role+"\nsource_profile = other\n")
	keys := func(id string) string { return "[other]\naws_access_key_id = " + id + "\naws_secret_access_key = S\n" }
	write(t, dir, "credentials", keys("ID1"))
	tokens := tokenService{clock: -11 * time.Minute}
	inFiles(t, func(c *Config) { tokens.next, c.Transport = c.Transport, &tokens }, func(t *testing.T, w *world) {
		w.wantKey("ASSUMED1", "T1")
		time.Sleep(50 * time.Minute)
		w.wantKey("ASSUMED1", "T1")
		write(t, dir, "credentials", keys("ID2"))
		w.refuse("ASSUMED1")
		w.denied()
		w.wantKey("ASSUMED2", "T2")
		if got := strings.Join(tokens.keys, " "); got != "ID1 ID2" {
			t.Errorf("asked with the keys %s", got)
		}
	})
}

// The token of a web identity is read again when its credentials are refused,
// and when they end.
func TestTokenOfAWebIdentityIsReadAgain(t *testing.T) {
	dir := withoutKeys(t)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, dir, "token", "WEB1"))
	t.Setenv("AWS_ROLE_ARN", role)
	tokens := tokenService{clock: -2 * time.Hour}
	inFiles(t, func(c *Config) { tokens.next, c.Transport = c.Transport, &tokens }, func(t *testing.T, w *world) {
		w.wantKey("ASSUMED1", "T1")
		w.refuse("ASSUMED1")
		w.denied()
		write(t, dir, "token", "WEB2")
		w.wantKey("ASSUMED2", "T2")
		write(t, dir, "token", "WEB3")
		time.Sleep(59 * time.Minute)
		w.wantKey("ASSUMED2", "T2")
		time.Sleep(time.Minute + time.Second)
		w.wantKey("ASSUMED3", "T3")
		for i, want := range []string{"WEB1", "WEB2", "WEB3"} {
			if got := tokens.asked[i].Get("WebIdentityToken"); got != want {
				t.Errorf("request %d had the token %s, want %s", i, got, want)
			}
		}
	})
}

// The token service gives the end of credentials by its own clock, which may
// differ from the local one.
func TestRoleIsAssumedOncePerHourWhateverTheClocks(t *testing.T) {
	for _, ahead := range []time.Duration{-11 * time.Minute, -3 * time.Hour, 11 * time.Minute, 3 * time.Hour} {
		tokens := tokenService{clock: ahead}
		inBubble(t, kinesistest.Options{}, 1, tokens.assuming, func(t *testing.T, w *world) {
			for range 54 {
				w.wantKey("ASSUMED1", "T1")
				time.Sleep(time.Minute)
			}
			time.Sleep(2 * time.Minute)
			w.wantKey("ASSUMED2", "T2")
			if n := tokens.times(); n != 2 {
				t.Errorf("the token service was asked %d times within an hour with a clock that is %s ahead, want 2", n,
					ahead)
			}
		})
	}
}

// Credentials that seem to have expired, by a local clock that is ahead, are
// not asked for before every request. Refused ones are asked for at once.
func TestCredentialsThatSeemToHaveExpiredAreAskedForOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		loaded := aws.Config{Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			asked++
			return aws.Credentials{
				AccessKeyID: "ID", SecretAccessKey: "S", CanExpire: true, Expires: time.Now().Add(-time.Hour)}, nil
		})}
		c := newChain(&loaded, nil)
		retrieve := func(want int) {
			t.Helper()
			if _, err := c.Retrieve(t.Context()); err != nil || asked != want {
				t.Errorf("asked %d times, want %d: %v", asked, want, err)
			}
		}
		retrieve(1)
		time.Sleep(minLifetime - time.Second)
		retrieve(1)
		time.Sleep(2 * time.Second)
		retrieve(2)
		retrieve(2)
		c.Invalidate()
		retrieve(3)
	})
}
